create table agent (
  msp_id uuid not null,
  customer_id uuid not null,
  site_id uuid not null,
  id uuid not null,
  hostname text not null,
  agent_version text not null,
  -- Ed25519 public key, SPKI DER, base64.
  identity_key text not null,
  protocol_min integer not null,
  protocol_max integer not null,
  capabilities jsonb not null default '[]',
  enrolled_at timestamptz not null default now(),
  certificate_expires_at timestamptz not null,
  revoked_at timestamptz,
  last_seen_at timestamptz,
  clock_offset_ms integer,
  boot_epoch bigint not null default 0,
  -- Events up to here are durable in this database.
  event_high_mark bigint not null default 0,
  -- Highest command sequence given out, and highest the agent said it holds.
  command_sequence bigint not null default 0,
  command_sequence_held bigint not null default 0,
  primary key (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, site_id) references site (msp_id, customer_id, id)
);
-- The id is the principal at the broker, made by the cloud: it is unique over the platform.
create unique index agent_id on agent (id);
call protect_customer_table('agent');

create table enrolment_token (
  msp_id uuid not null,
  customer_id uuid not null,
  site_id uuid not null,
  id uuid not null,
  token_hash text not null check (token_hash ~ '^[0-9a-f]{64}$'),
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  consumed_at timestamptz,
  identity_key text,
  agent_id uuid,
  primary key (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, site_id) references site (msp_id, customer_id, id)
);
-- 256 random bits: a collision tells nothing about another tenant.
create unique index enrolment_token_hash on enrolment_token (token_hash);
call protect_customer_table('enrolment_token');

create table command (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  agent_id uuid not null,
  sequence bigint not null check (sequence > 0),
  type text not null,
  class text not null check (class in ('read', 'operate', 'sensitive', 'destructive')),
  body jsonb not null,
  job_id uuid,
  state text not null check (state in ('queued', 'published', 'accepted', 'running', 'succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'unknown')),
  -- Grows by one with every change of state.
  version integer not null default 0,
  issued_at timestamptz not null,
  not_before timestamptz not null,
  expires_at timestamptz not null,
  error jsonb,
  primary key (msp_id, customer_id, id),
  unique (msp_id, customer_id, agent_id, sequence),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
create index command_by_job on command (msp_id, job_id);
create index command_unfinished on command (expires_at) where state in ('queued', 'published');
call protect_customer_table('command');

-- What still has to be sent; written with its command, removed when the agent says it holds it.
create table command_outbox (
  msp_id uuid not null,
  customer_id uuid not null,
  command_id uuid not null,
  agent_id uuid not null,
  sequence bigint not null,
  attempts integer not null default 0,
  published_at timestamptz,
  primary key (msp_id, customer_id, command_id),
  foreign key (msp_id, customer_id, command_id) references command (msp_id, customer_id, id)
);
create index command_outbox_by_agent on command_outbox (msp_id, customer_id, agent_id, sequence);
call protect_customer_table('command_outbox');

create table agent_event (
  msp_id uuid not null,
  customer_id uuid not null,
  agent_id uuid not null,
  sequence bigint not null,
  boot_epoch bigint not null,
  type text not null,
  at timestamptz not null,
  -- applied, or refused with the code of the reason.
  outcome text not null,
  received_at timestamptz not null default now(),
  primary key (msp_id, customer_id, agent_id, sequence),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
call protect_customer_table('agent_event');

grant select on agent, command, command_outbox, agent_event to "app";
grant update (command_sequence) on agent to "app";
grant select, insert on enrolment_token to "app";
grant insert on command, command_outbox to "app";
grant update (state, version, error) on command to "app";
grant select, insert, update, delete on agent, enrolment_token, command, command_outbox, agent_event to "system";
