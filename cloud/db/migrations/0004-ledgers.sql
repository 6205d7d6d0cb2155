create table usage_fact (
  msp_id uuid not null,
  customer_id uuid not null,
  agent_id uuid not null,
  fact_id uuid not null,
  meter text not null,
  resource_id uuid not null,
  amount bigint not null check (amount >= 0),
  at timestamptz not null,
  received_at timestamptz not null default now(),
  primary key (msp_id, agent_id, fact_id),
  foreign key (msp_id, customer_id, agent_id) references agent (msp_id, customer_id, id)
);
create index usage_fact_by_hour on usage_fact (msp_id, customer_id, meter, at);
call protect_customer_table('usage_fact');

-- Newest link of each MSP's chain of audit entries.
create table audit_head (
  msp_id uuid primary key references msp (id),
  sequence bigint not null,
  hash text not null check (hash ~ '^[0-9a-f]{64}$')
);
alter table audit_head enable row level security;
alter table audit_head force row level security;
create policy tenant_isolation on audit_head for all to "app" using (msp_id = tenant_msp()) with check (msp_id = tenant_msp());
create policy system_work on audit_head for all to "system" using (system_works()) with check (system_works());

-- entry is the exact text the hash was taken over. customer_id is null for what concerns the whole MSP.
create table audit_entry (
  msp_id uuid not null references msp (id),
  sequence bigint not null check (sequence > 0),
  customer_id uuid,
  at timestamptz not null,
  actor text not null,
  action text not null,
  entry text not null,
  previous_hash text not null,
  hash text not null,
  primary key (msp_id, sequence),
  foreign key (msp_id, customer_id) references customer (msp_id, id)
);
alter table audit_entry enable row level security;
alter table audit_entry force row level security;
-- Written by whoever acts inside the MSP; read by those who see the customer it is about.
create policy tenant_reads on audit_entry for select to "app" using (tenant_sees(msp_id, customer_id));
create policy tenant_appends on audit_entry for insert to "app"
  with check (msp_id = tenant_msp() and (customer_id is null or tenant_sees(msp_id, customer_id)));
create policy system_reads on audit_entry for select to "system" using (system_works());
create policy system_appends on audit_entry for insert to "system" with check (system_works());

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are only ever appended', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger append_only before update or delete or truncate on audit_entry for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on usage_fact for each statement execute function refuse_change();

grant select, insert on audit_entry to "app", "system";
grant select, insert, update on audit_head to "app", "system";
grant select on usage_fact to "app";
grant select, insert on usage_fact to "system";
