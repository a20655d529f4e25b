/**
 * Where the store gets its log from: in here the sources beside it, so that its tests test them. In a
 * copy of this folder write `from 'riolog'`; nothing else refers to this repository.
 */
export { Log, type LogOptions, type Pin, RiologError } from '../../../src/index.ts'
