/**
 * The echo server on node:net. Prints `port N` when it listens. The CPU time that the process has
 * used since its start it prints as {"cpuSeconds":C} at every SIGUSR2, which the client sends when
 * its clock starts and stops, and at SIGTERM, which ends it.
 */
import { type AddressInfo, createServer } from 'node:net'

function printCpu(): void {
  const { user, system } = process.cpuUsage()
  console.log(JSON.stringify({ cpuSeconds: (user + system) / 1e6 }))
}

process.on('SIGUSR2', printCpu)
process.on('SIGTERM', () => {
  printCpu()
  process.exit()
})

const server = createServer(socket => {
  socket.setNoDelay()
  socket.on('data', bytes => socket.write(bytes))
  // The client leaves in the middle of a message.
  socket.on('error', () => socket.destroy())
})
server.listen(0, '127.0.0.1', () => {
  console.log(`port ${(server.address() as AddressInfo).port}`)
})
