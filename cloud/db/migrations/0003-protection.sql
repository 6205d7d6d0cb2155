-- Ids of vm, repository, restore_point and job may be made by agents: they are unique within their MSP,
-- and a row belongs to the agent that reported it first.
create table vm (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  agent_id uuid not null,
  platform text not null,
  platform_ref text not null,
  name text not null,
  power_state text not null,
  guest_agent boolean not null,
  memory_bytes bigint not null,
  cpu_count integer not null,
  disks jsonb not null,
  restored_from jsonb,
  present boolean not null,
  reported_at timestamptz not null,
  primary key (msp_id, id),
  unique (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
create index vm_by_agent on vm (msp_id, agent_id);
call protect_customer_table('vm');

create table repository (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  agent_id uuid not null,
  name text not null,
  kind text not null,
  location text not null,
  state text not null check (state in ('ready', 'missing', 'failed')),
  capacity_bytes bigint,
  free_bytes bigint,
  checked_at timestamptz not null,
  primary key (msp_id, id),
  unique (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
call protect_customer_table('repository');

create table restore_point (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  agent_id uuid not null,
  vm_id uuid not null,
  vm_name text not null,
  repository_id uuid not null,
  job_id uuid not null,
  parent_id uuid,
  taken_at timestamptz not null,
  sealed_at timestamptz not null,
  consistency text not null,
  manifest_hash text not null,
  disks jsonb not null,
  stored_bytes bigint not null,
  primary key (msp_id, id),
  unique (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, vm_id) references vm (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, repository_id) references repository (msp_id, customer_id, id)
);
create index restore_point_by_vm on restore_point (msp_id, vm_id, taken_at desc);
create index restore_point_by_time on restore_point (msp_id, taken_at desc);
call protect_customer_table('restore_point');

create table verification (
  msp_id uuid not null,
  customer_id uuid not null,
  restore_point_id uuid not null,
  at timestamptz not null,
  level text not null,
  outcome text not null check (outcome in ('passed', 'failed')),
  checked_bytes bigint not null,
  summary text not null,
  primary key (msp_id, restore_point_id, at, level),
  foreign key (msp_id, customer_id, restore_point_id) references restore_point (msp_id, customer_id, id)
);
call protect_customer_table('verification');

create table job (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  kind text not null check (kind in ('backup', 'restore', 'verify')),
  state text not null check (state in ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')),
  -- Of the newest report; -1 while only the cloud knows the job.
  revision integer not null,
  -- True where the cloud ended it, for want of a report; a late report then still counts.
  ended_by_cloud boolean not null default false,
  agent_id uuid not null,
  vm_id uuid not null,
  vm_name text not null,
  repository_id uuid,
  restore_point_id uuid,
  command_id uuid,
  requested_by text not null,
  idempotency_key uuid,
  queued_at timestamptz not null,
  started_at timestamptz,
  ended_at timestamptz,
  attempt integer not null default 0,
  result jsonb,
  error jsonb,
  primary key (msp_id, id),
  unique (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id),
  foreign key (msp_id, customer_id, vm_id) references vm (msp_id, customer_id, id)
);
create unique index job_idempotency on job (msp_id, customer_id, idempotency_key) where idempotency_key is not null;
create index job_by_vm on job (msp_id, vm_id, queued_at desc);
create index job_by_time on job (msp_id, queued_at desc, id desc);
create index job_unfinished on job (msp_id, vm_id) where state in ('queued', 'running', 'cancelling');
call protect_customer_table('job');

create table job_log (
  msp_id uuid not null,
  customer_id uuid not null,
  job_id uuid not null,
  sequence integer not null,
  at timestamptz not null,
  level text not null check (level in ('info', 'warning', 'error')),
  step text not null,
  sentence text not null,
  primary key (msp_id, job_id, sequence),
  foreign key (msp_id, customer_id, job_id) references job (msp_id, customer_id, id)
);
call protect_customer_table('job_log');

create table alert (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  agent_id uuid not null,
  severity text not null check (severity in ('info', 'warning', 'critical')),
  error jsonb not null,
  raised_at timestamptz not null,
  primary key (msp_id, id),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
call protect_customer_table('alert');

grant select on vm, repository, restore_point, verification, job, job_log, alert to "app";
grant insert on job to "app";
grant update (state, ended_at, ended_by_cloud, error) on job to "app";
grant select, insert, update, delete on vm, repository, restore_point, verification, job, job_log, alert to "system";
