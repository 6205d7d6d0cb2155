-- The newest sync that was taken in is (boot_epoch, sync_sequence): an older one that comes again has no effect.
alter table agent add column sync_sequence bigint not null default 0;
