-- Tenant context. One setting, local to the transaction, written once at its start:
--   '<msp id>|all'  or  '<msp id>|<customer id>,<customer id>'.
-- After use on a pooled connection the setting is '' and not NULL, hence nullif.
create function tenant_msp() returns uuid language sql stable parallel safe as $$
  select nullif(split_part(current_setting('sendense.context', true), '|', 1), '')::uuid
$$;

-- True where a row of this MSP and customer exists for the current context. Fails closed without one.
create function tenant_sees(row_msp uuid, row_customer uuid) returns boolean language sql stable parallel safe as $$
  select row_msp = tenant_msp()
    and coalesce(
      split_part(current_setting('sendense.context', true), '|', 2) = 'all'
        or row_customer::text = any (string_to_array(split_part(current_setting('sendense.context', true), '|', 2), ',')),
      false)
$$;

-- The platform's own work states a reason; where it also states a context, it is kept inside it.
create function system_sees(row_msp uuid, row_customer uuid) returns boolean language sql stable parallel safe as $$
  select coalesce(nullif(current_setting('sendense.system_reason', true), ''), '') <> ''
    and (coalesce(current_setting('sendense.context', true), '') = '' or coalesce(tenant_sees(row_msp, row_customer), false))
$$;

create function system_works() returns boolean language sql stable parallel safe as $$
  select coalesce(nullif(current_setting('sendense.system_reason', true), ''), '') <> ''
$$;

-- Forces row-level security on a table with msp_id and customer_id, for both roles.
create procedure protect_customer_table(name text) language plpgsql as $$
begin
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format('create policy tenant_isolation on %I for all to "app" using (tenant_sees(msp_id, customer_id)) with check (tenant_sees(msp_id, customer_id))', name);
  execute format('create policy system_work on %I for all to "system" using (system_sees(msp_id, customer_id)) with check (system_sees(msp_id, customer_id))', name);
end
$$;

-- The same for tables of the platform that no tenant may reach at all.
create procedure protect_platform_table(name text) language plpgsql as $$
begin
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format('create policy system_work on %I for all to "system" using (system_works()) with check (system_works())', name);
end
$$;

create table msp (
  id uuid primary key,
  name text not null check (length(name) between 1 and 200),
  created_at timestamptz not null default now()
);
alter table msp enable row level security;
alter table msp force row level security;
create policy tenant_isolation on msp for all to "app" using (id = tenant_msp()) with check (id = tenant_msp());
create policy system_work on msp for all to "system" using (system_works()) with check (system_works());

create table customer (
  msp_id uuid not null references msp (id),
  id uuid not null,
  name text not null check (length(name) between 1 and 200),
  created_at timestamptz not null default now(),
  primary key (msp_id, id),
  unique (msp_id, name)
);
alter table customer enable row level security;
alter table customer force row level security;
create policy tenant_isolation on customer for all to "app" using (tenant_sees(msp_id, id)) with check (tenant_sees(msp_id, id));
create policy system_work on customer for all to "system" using (system_sees(msp_id, id)) with check (system_sees(msp_id, id));

create table site (
  msp_id uuid not null,
  customer_id uuid not null,
  id uuid not null,
  name text not null check (length(name) between 1 and 200),
  time_zone text not null,
  created_at timestamptz not null default now(),
  primary key (msp_id, customer_id, id),
  foreign key (msp_id, customer_id) references customer (msp_id, id)
);
call protect_customer_table('site');

-- People are not rows of a tenant: one account can be a member of several. Role app never reads these.
create table user_account (
  id uuid primary key,
  email text not null check (email = lower(email) and length(email) <= 254),
  display_name text not null,
  password_hash text not null,
  created_at timestamptz not null default now(),
  unique (email)
);
call protect_platform_table('user_account');

create table membership (
  msp_id uuid not null references msp (id),
  id uuid not null,
  user_id uuid not null references user_account (id),
  role text not null check (role in ('owner', 'admin', 'operator', 'restore-operator', 'billing-auditor', 'read-only')),
  scope text not null check (scope in ('all', 'listed')),
  customer_ids uuid[] not null default '{}',
  created_at timestamptz not null default now(),
  primary key (msp_id, id),
  unique (msp_id, user_id)
);
alter table membership enable row level security;
alter table membership force row level security;
create policy tenant_isolation on membership for all to "app" using (msp_id = tenant_msp()) with check (msp_id = tenant_msp());
create policy system_work on membership for all to "system" using (system_works()) with check (system_works());

-- id_hash: SHA-256 of the session id, in hexadecimal. The id itself is known to its holder only.
create table session (
  id_hash text primary key check (id_hash ~ '^[0-9a-f]{64}$'),
  user_id uuid not null references user_account (id) on delete cascade,
  msp_id uuid not null,
  membership_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  foreign key (msp_id, membership_id) references membership (msp_id, id) on delete cascade
);
create index session_by_user on session (user_id);
create index session_by_expiry on session (expires_at);
call protect_platform_table('session');

grant usage on schema public to "app", "system";
grant select on msp, customer, site, membership to "app";
grant select, insert, update, delete on msp, customer, site, user_account, membership, session to "system";
