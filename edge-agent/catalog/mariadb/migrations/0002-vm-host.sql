-- The host a VM is on, where that is not the agent's own machine.
ALTER TABLE vm_context ADD COLUMN IF NOT EXISTS host_name VARCHAR(255) NULL;
