-- The host a VM is on, where that is not its agent's own machine.
alter table vm add column host_name text;
