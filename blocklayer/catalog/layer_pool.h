// SPDX-License-Identifier: Apache-2.0
//
// LayerPool: every open image of the daemon, once. However many chains contain a file, and whatever
// they call it, there is one Layer: one descriptor, one set of image locks, one metadata owner.
//
// Terms: the *role* of a layer decides its locks. An active layer is written by guests through its
// own disk; a backing layer is only read. A *stream target* is a layer that a job fills meanwhile.
//
// Invariants: CAT-5 to CAT-8 of README.md. A dirty image is repaired in the background where there
// is somebody for it; reading one needs no repair.
//
// A layer closes (Image::Close) when the last chain lets go of it, on whatever thread that is.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "blocklayer/catalog/background_repairs.h"
#include "blocklayer/catalog/data_files.h"
#include "blocklayer/catalog/header_names.h"
#include "blocklayer/catalog/lease_kind.h"
#include "blocklayer/catalog/roots.h"
#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {

enum class LayerRole : uint8_t { kActive, kBacking };

// A file that was found and looked at, and is to become a layer.
struct LayerFile {
  FileLocation location;
  ImageFormat format = ImageFormat::kQcow2;
  FileStat stat;
  HeaderPeek peek;  // empty where the format has none
};

class LayerPool {
 public:
  // Every layer keeps `context` alive. The others outlive this. `repairs` null: dirty images are
  // repaired while they are opened; `data_files` null: images that have some are refused.
  LayerPool(std::shared_ptr<BlockContext> context, bool read_only,
            BackgroundRepairs* repairs = nullptr,
            const FormatRegistry& formats = FormatRegistry::BuiltIn(),
            DataFiles* data_files = nullptr)
      : context_(std::move(context)),
        formats_(formats),
        read_only_(read_only),
        repairs_(repairs),
        data_files_(data_files) {}

  const FormatRegistry& formats() const { return formats_; }

  // The layer of `file`, in `role`; opened unless it is open. An image that cannot be written gets
  // the role of a backing layer. kBusy while it is checked in the background.
  Result<LayerPtr> Get(const LayerFile& file, LayerRole role);
  // Null when it is not open.
  LayerPtr Find(const FileId& id) const;
  // kBusy when another process's locks conflict, kReadOnly when it is to be an active layer and
  // cannot be written; nothing has changed then.
  Status SetRole(const LayerPtr& layer, LayerRole role);
  LayerRole RoleOf(const LayerPtr& layer) const;
  // Who else holds locks on a file that is not open here; kNobody also when it cannot be told.
  static ImageHolder HolderOf(const LayerFile& file);
  // Tells others who want these images that their locks will be given back soon.
  void AnnounceEnd();
  // Nest; each Add needs one Remove. Fails like SetRole; one that writes opens the layer for it.
  Status AddLease(const LayerPtr& layer, LeaseKind kind);
  void RemoveLease(const LayerPtr& layer, LeaseKind kind);
  // Forgets layers that are closed.
  void Prune();
  size_t size() const { return entries_.size(); }
  // Closes every image and lets go of all locks; the first error. Nothing may be written after it.
  Status CloseAll();

 private:
  using Leases = std::array<uint32_t, kLeaseKinds>;
  struct Entry {
    std::weak_ptr<Layer> layer;
    LayerRole role = LayerRole::kBacking;
    Leases leases = {};  // how many there are, by kind
  };
  static ImageLockSet LocksFor(LayerRole role, const Leases& leases);
  Entry* EntryOf(const LayerPtr& layer);
  Status MakeWritable(Layer& layer) const;
  // While the locks are those of a writer.
  static void RestUnlessWritten(Layer& layer, LayerRole role, const Leases& leases);
  Result<std::unique_ptr<File>> OpenFile(const LayerFile& file, std::string* refusal);
  Result<std::unique_ptr<File>> OpenUnwritable(const LayerFile& file);
  Result<std::unique_ptr<Image>> OpenImage(std::unique_ptr<File> file, const LayerFile& described,
                                           const ImageOpenOptions& options);
  // What the background found; nothing for an image that needs no repair.
  std::optional<BackgroundRepairs::Verdict> RepairVerdict(const LayerFile& file) const;
  // Hands it over when its locks can be had; kBusy in any case.
  std::unexpected<Error> StartRepair(const LayerFile& described, std::unique_ptr<File> file);
  // kBusy while somebody without locks has it open for writing.
  static Status CheckComplete(File& file);
  // A further file of the same image, which is only read.
  static Result<std::unique_ptr<File>> OpenBeside(const LayerFile& described,
                                                  const std::string& name);
  // The data file that the header of `layer` names, with its locks.
  Result<std::unique_ptr<File>> OpenDataFile(Layer& layer, const std::string& name,
                                             bool for_writing, const ImageLockSet& locks);
  Result<LayerPtr> Open(const LayerFile& file, LayerRole role);

  const std::shared_ptr<BlockContext> context_;
  const FormatRegistry& formats_;
  const bool read_only_;
  BackgroundRepairs* const repairs_;
  DataFiles* const data_files_;
  std::map<FileId, Entry> entries_;
};

}  // namespace chainfs
