// SPDX-License-Identifier: Apache-2.0
//
// StackRegistry: knows every living LayerStack. It finds the one of a list of layers, so that
// linked clones share one index, and it is where reading a layer beneath others and writing it
// exclude each other: a stack (and the index that it keeps) is right only as long as none of its
// layers changes. It keeps nothing alive.
//
// Terms: a layer is *backed* while any living stack contains it, whoever holds that stack: a disk,
// a read under way, a job, an estimate, a disk that is not shown any more.
//
// A *retired* stack is found by nobody any more, because one of its layers is written again: who
// has it ends a read that began before. Until it is gone, no place that it may name is used anew.
//
// Invariant: no layer is backed, by a stack that is not retired, and written at once. A stack is
// counted from before anybody gets it until its destructor, that is, until after the last time that
// anybody could use it or find it.
//
// Threads: all methods, any thread; mu_ is a leaf. When the last stack that contains a layer goes
// whose writing was refused, WakeUp is called, with no lock of the registry held.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

class LayerStack;
class WakeUp;

class StackRegistry {
 public:
  // `wake_up` must outlive this.
  explicit StackRegistry(WakeUp& wake_up) : wake_up_(wake_up) {}

  // The living stack of `layers`, or null.
  std::shared_ptr<const LayerStack> Find(const Layers& layers) const EXCLUDES(mu_);
  // Counts `stack`, of `layers`, and makes it known; returns the one that somebody else made known
  // first. kBusy when one of the layers is written; nothing was counted then.
  Result<std::shared_ptr<const LayerStack>> Add(const Layers& layers,
                                                std::shared_ptr<const LayerStack> stack)
      EXCLUDES(mu_);
  // From the destructor of a stack that was counted.
  void Forget(const LayerStack& stack) EXCLUDES(mu_);

  // `layer` may be written from now on, until EndWriting. False, and nothing changes, while it is
  // backed, or when it is written already.
  bool BeginWriting(const Layer& layer) EXCLUDES(mu_);
  void EndWriting(const Layer& layer) EXCLUDES(mu_);
  // The same, which cannot fail, for a layer that is in stacks: of a list of layers that shows the
  // same without those above it from now on. Those stacks retire. The caller vouches that nobody
  // has written it, and that who has one of them only ends a read (CHN-15).
  void BeginWritingBeneath(const Layer& layer) noexcept EXCLUDES(mu_);
  bool IsBacked(const Layer& layer) const EXCLUDES(mu_);

  // The living stacks that contain `layer`, for who moves its data (LayerStack::DropRegions). One
  // that is made later asks the layer anew.
  std::vector<std::shared_ptr<const LayerStack>> StacksOf(const Layer& layer) const EXCLUDES(mu_);

  // Entries, for tests.
  size_t size() const EXCLUDES(mu_);

 private:
  // Addresses identify layers here: a living stack keeps its layers, so no address is another's.
  using Key = std::vector<const Layer*>;
  struct Known {
    std::weak_ptr<const LayerStack> stack;
    // The same; it is there until Forget was called for it, also while it is being destroyed.
    const LayerStack* address = nullptr;
  };
  static Key KeyOf(const Layers& layers);
  static bool IsBackedNow(const Layer& layer);

  WakeUp& wake_up_;
  mutable Mutex mu_;
  std::map<Key, Known> stacks_ GUARDED_BY(mu_);  // those that are not retired
};

}  // namespace chainfs
