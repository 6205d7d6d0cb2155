import { expect, test } from 'vitest'
import { moduleLoadOrder, parseModuleDependencies } from './initramfs.ts'
import { parseLibraries } from './root-tree.ts'

const dependencies = parseModuleDependencies(
  [
    'kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko',
    'kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko',
    'kernel/lib/crc16.ko:',
    'kernel/drivers/block/virtio-blk.ko:',
    '',
  ].join('\n'),
)

test('every module is loaded once and after all that it depends on', () => {
  expect(moduleLoadOrder(dependencies, ['virtio_blk', 'ext4', 'jbd2'])).toEqual([
    'kernel/drivers/block/virtio-blk.ko',
    'kernel/lib/crc16.ko',
    'kernel/fs/jbd2/jbd2.ko',
    'kernel/fs/ext4/ext4.ko',
  ])
})

test('a module that the kernel does not have is named', () => {
  expect(() => moduleLoadOrder(dependencies, ['xfs'])).toThrow('no module xfs')
})

test('libraries are listed with the path the program looks for, the loader too', () => {
  const answer = [
    '\tlinux-vdso.so.1 (0x00007ffc2f5f6000)',
    '\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)',
  ].join('\n')
  expect(parseLibraries(answer, 'tool')).toEqual(['/lib/x86_64-linux-gnu/libc.so.6', '/lib64/ld-linux-x86-64.so.2'])
})

test('a library that is not on this machine is named', () => {
  expect(() => parseLibraries('\tliburing.so.2 => not found', '/usr/sbin/qemu-ga')).toThrow(
    'qemu-ga needs a library: liburing',
  )
})
