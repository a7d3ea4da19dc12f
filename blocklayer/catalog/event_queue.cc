// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/event_queue.h"

#include <exception>
#include <utility>

namespace chainfs {
namespace {

// False when the observer misses the event for want of memory; those who wait for it must not wait
// for ever.
bool Tell(CatalogObserver& observer, const EventQueue::Event& event) {
  try {
    event(observer);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

void EventQueue::SetObserver(CatalogObserver* observer) {
  const MutexLock lock(mu_);
  observer_.store(observer);
  // An event that is taken out of the queue from now on goes to the new one.
  const uint64_t under_way = delivered_;
  const std::thread::id self = std::this_thread::get_id();
  while (deliverer_ != std::thread::id() && deliverer_ != self && delivered_ == under_way) {
    one_delivered_.Wait(mu_);
  }
}

void EventQueue::Add(Event event) {
  const MutexLock lock(mu_);
  events_.push_back(std::move(event));
  ++queued_;
}

void EventQueue::Deliver() {
  const std::thread::id self = std::this_thread::get_id();
  mu_.Lock();
  const uint64_t mine = queued_;
  // One thread at a time, in order; it also delivers what others queue meanwhile.
  while (deliverer_ != std::thread::id() && deliverer_ != self && delivered_ < mine) {
    one_delivered_.Wait(mu_);
  }
  if (deliverer_ == std::thread::id()) {
    deliverer_ = self;
    while (!events_.empty()) {
      Event event = std::move(events_.front());
      events_.pop_front();
      mu_.Unlock();
      if (CatalogObserver* const told = observer(); told != nullptr) (void)Tell(*told, event);
      event = nullptr;  // with a disk, perhaps, which must not end under the lock
      mu_.Lock();
      ++delivered_;
      one_delivered_.NotifyAll();
    }
    deliverer_ = {};
  }
  mu_.Unlock();
}

}  // namespace chainfs
