#include "buffer_group.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "uring_abi.h"

namespace riolog {

std::unique_ptr<BufferGroup> BufferGroup::create(int ringFd, uint16_t group, uint32_t count,
                                                 uint32_t bytesEach, int* error) {
  std::unique_ptr<BufferGroup> made(new BufferGroup());
  made->group_ = group;
  made->count_ = count;
  made->bytesEach_ = bytesEach;
  made->entries_ = Memory::allocate(count * sizeof(ProvidedBuffer));
  made->data_ = Memory::allocate(size_t{count} * bytesEach);
  if (made->entries_ == nullptr || made->data_ == nullptr) {
    *error = ENOMEM;
    return nullptr;
  }
  RegisterBufferRing request{};
  request.address = reinterpret_cast<uint64_t>(made->entries_->data());
  request.entries = count;
  request.group = group;
  if (syscall(__NR_io_uring_register, ringFd, reg::kPbufRing, &request, 1) < 0) {
    *error = errno;
    return nullptr;
  }
  for (uint32_t id = 0; id < count; id++) made->provide(static_cast<uint16_t>(id));
  return made;
}

BufferGroup::~BufferGroup() {
  if (entries_ != nullptr) entries_->release();
  if (data_ != nullptr) data_->release();
}

void BufferGroup::provide(uint16_t id) noexcept {
  auto* entries = reinterpret_cast<ProvidedBuffer*>(entries_->data());
  ProvidedBuffer& entry = entries[tail_ & (count_ - 1)];
  entry.address = reinterpret_cast<uint64_t>(data_->data()) + uint64_t{id} * bytesEach_;
  entry.length = bytesEach_;
  entry.id = id;
  // The ring's tail lies over the `tail` of its first entry; the kernel reads it with acquire.
  __atomic_store_n(&entries[0].tail, ++tail_, __ATOMIC_RELEASE);
}

void BufferGroup::unregister(int ringFd) noexcept {
  RegisterBufferRing request{};
  request.group = group_;
  syscall(__NR_io_uring_register, ringFd, reg::kUnregisterPbufRing, &request, 1);
}

void BufferGroup::leak() noexcept {
  entries_ = nullptr;
  data_ = nullptr;
}

}  // namespace riolog
