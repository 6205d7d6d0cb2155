alter table alert
  add column acknowledged_at timestamptz,
  add column acknowledged_by text,
  add constraint alert_acknowledged_whole check ((acknowledged_at is null) = (acknowledged_by is null));
create index alert_by_time on alert (msp_id, raised_at desc, id desc);
create index alert_open on alert (msp_id, raised_at desc, id desc) where acknowledged_at is null;

-- What was raised stays as it was raised.
grant update (acknowledged_at, acknowledged_by) on alert to "app";
