/** The secrets that objects of one repository are made and opened with. Arrays are the owner's: never changed, never kept. */
export interface RepositoryKeys {
  /** Epoch of new packs and objects. */
  readonly newestEpoch: number
  /** 32 bytes. Throws `repository.key_missing` for an epoch that is not in the key ring. */
  epochKey(epoch: number): Uint8Array
  /** 32 bytes, the same in all epochs. */
  readonly macKey: Uint8Array
}
