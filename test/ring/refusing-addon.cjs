/**
 * The addon with a ring whose io_uring_enter refuses for a while, as that of a kernel short of memory
 * does: requests stay staged, and flush has to be called again. `refusals` are the errnos to come.
 */
const real = require(process.env.RIOLOG_REAL_ADDON ?? '../../build/Release/riolog.node')

const refusals = []

class RefusingBinding extends real.RingBinding {
  #staged = 0

  submit(count, look) {
    if (refusals.length === 0) return super.submit(count, look)
    this.#staged = count
    return -refusals.shift()
  }

  flush() {
    if (refusals.length > 0) return -refusals.shift()
    const count = this.#staged
    this.#staged = 0
    return count === 0 ? super.flush() : super.submit(count, false)
  }
}

module.exports = { ...real, RingBinding: RefusingBinding, refusals }
