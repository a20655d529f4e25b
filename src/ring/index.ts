/** The raw ring: `import { Ring } from 'riolog/ring'`. */
export { RiologError, SystemError } from '../errors.ts'
export { IoBuffer } from './io-buffer.ts'
export { Chain, ChainError, type FileLike, Ring, type RingOptions, type RingProbe } from './ring.ts'
