// SPDX-License-Identifier: Apache-2.0
//
// The public face of the catalog, its lists, its events and its records. Scanning, roles and
// snapshots are in the other catalog_*.cc files.
#include "blocklayer/catalog/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "blocklayer/base/wake_up.h"
#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Catalog::Impl::Impl(CatalogOptions options)
    : options_(std::move(options)),
      context_(std::make_shared<BlockContext>(options_.memory)),
      repairs_([this] { (void)Rescan(); }),
      roots_(options_.open_directory),
      pool_(context_, options_.read_only, &repairs_),
      sources_(roots_, options_.state_directory),
      records_(sources_, options_.read_only),
      leases_(mu_, pool_) {}

Catalog::Impl::~Impl() { (void)Close(); }

Status Catalog::Impl::Start(const std::vector<SourceSpec>& specs) {
  {
    const MutexLock lock(mu_);
    for (const std::string& directory : options_.backing_dirs) {
      CHAINFS_TRY(roots_.Add(directory, RootUse::kRead));
    }
    for (const SourceSpec& spec : specs) CHAINFS_TRY(sources_.Add(spec));
    CHAINFS_TRY(ScanLocked(ScanKind::kFull));
  }
  DeliverEvents();
  return {};
}

Status Catalog::Impl::Rescan() {
  Status scanned = [&]() -> Status {
    const MutexLock one_scan(scan_mu_);
    const MutexLock lock(mu_);
    if (closed_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
    return ScanLocked(ScanKind::kFull);
  }();
  DeliverEvents();
  return scanned;
}

std::vector<std::string> Catalog::Impl::WatchedDirectories() const {
  std::vector<std::string> paths = sources_.DirectoryPaths();
  for (const std::string& directory : options_.backing_dirs) {
    if (std::ranges::find(paths, directory) == paths.end()) paths.push_back(directory);
  }
  return paths;
}

std::vector<DiskPtr> Catalog::Impl::Disks() const {
  const MutexLock lock(list_mu_);
  std::vector<DiskPtr> disks;
  disks.reserve(disks_.size());
  for (const auto& [name, disk] : disks_) disks.push_back(disk);
  return disks;
}

DiskPtr Catalog::Impl::Find(std::string_view name) const {
  const MutexLock lock(list_mu_);
  const auto found = disks_.find(name);
  return found == disks_.end() ? nullptr : found->second;
}

std::vector<BrokenImage> Catalog::Impl::Broken() const {
  std::vector<BrokenImage> broken = [&] {
    const MutexLock lock(list_mu_);
    return broken_;
  }();
  for (BrokenImage& image : broken) {
    if (!image.being_checked) continue;
    image.error.message += fmt::format(" ({} % done)", repairs_.Percent(*image.being_checked));
  }
  return broken;
}

bool Catalog::Impl::BeingChecked(std::string_view name) const {
  const MutexLock lock(list_mu_);
  return std::ranges::any_of(
      broken_, [&](const BrokenImage& image) { return image.being_checked && image.name == name; });
}

bool Catalog::Impl::IsTriedAgain(std::string_view name) const {
  return std::ranges::any_of(
      broken_, [&](const BrokenImage& image) { return image.tried_again && image.name == name; });
}

bool Catalog::Impl::AskFor(std::string_view name) {
  // Somebody who keeps asking must not keep the scans busy.
  constexpr std::chrono::milliseconds kPause(250);
  const auto now = Backoff::Clock::now();
  const MutexLock lock(list_mu_);
  if (!IsTriedAgain(name) || now < last_asked_ + kPause) return false;
  last_asked_ = now;
  asked_for_.emplace(name);
  return true;
}

std::optional<Backoff::Clock::time_point> Catalog::Impl::NextRetry() const {
  const MutexLock lock(list_mu_);
  return next_retry_;
}

size_t Catalog::Impl::Remembered() {
  const Turn turn(mu_);
  const MutexLock lock(list_mu_);
  return pool_.size() + roots_.open_directories() + hidden_.remembered() + ghosts_.size() +
         entries_.size() + records_.disks() + asked_for_.size() + notes_.size() + broken_.size();
}

std::vector<ImageNote> Catalog::Impl::Notes() const {
  const auto is_reason = [](const ImageNote& note) { return note.text.starts_with(kReadOnly); };
  std::vector<ImageNote> notes = [&] {
    const MutexLock lock(list_mu_);
    return notes_;
  }();
  // Why disks are read-only they say themselves, as it is now: one may have turned so since the
  // last scan, by an error.
  std::vector<ImageNote> then;
  std::ranges::copy_if(notes, std::back_inserter(then), is_reason);
  std::erase_if(notes, is_reason);
  if (options_.read_only) notes.push_back({.name = {}, .text = std::string(kMountReadOnly)});
  for (const DiskPtr& disk : Disks()) {
    const std::string why = disk->ReadOnlyReason();
    if (why.empty() || (options_.read_only && why == kMountReadOnly)) continue;
    ImageNote note{.name = disk->name(), .text = fmt::format("{}{}", kReadOnly, why)};
    note.warning = std::ranges::any_of(then, [&](const ImageNote& other) {
      return other.warning && other.name == note.name && other.text == note.text;
    });
    notes.push_back(std::move(note));
  }
  std::ranges::sort(notes, [](const ImageNote& a, const ImageNote& b) {
    return std::tie(a.name, a.text) < std::tie(b.name, b.text);
  });
  return notes;
}

std::vector<std::string> Catalog::Impl::DisksUsing(const Layer& layer) const {
  const MutexLock lock(list_mu_);
  std::set<std::string> names;
  for (const auto& [name, disk] : disks_) {
    const Layers layers = disk->chain()->AllLayers();
    const auto is_layer = [&](const LayerPtr& other) { return other.get() == &layer; };
    if (std::ranges::any_of(layers, is_layer)) names.insert(name);
  }
  for (const auto& [name, id] : broken_uses_) {
    if (id == layer.id) names.insert(name);
  }
  return {names.begin(), names.end()};
}

void Catalog::Impl::AnnounceEnd() {
  closing_ = true;
  const Turn turn(mu_);
  if (!closed_) pool_.AnnounceEnd();
}

Status Catalog::Impl::Close() {
  closing_ = true;
  repairs_.Stop();
  const Turn turn(mu_);
  if (closed_) return {};
  closed_ = true;
  return pool_.CloseAll();
}

void Catalog::Impl::Queue(std::function<void(CatalogObserver&)> event) {
  const MutexLock lock(events_mu_);
  events_.push_back(std::move(event));
  ++queued_;
}

void Catalog::Impl::DeliverEvents() {
  const std::thread::id self = std::this_thread::get_id();
  events_mu_.Lock();
  const uint64_t mine = queued_;
  // One thread at a time, in order; it also delivers what others queue meanwhile.
  while (deliverer_ != std::thread::id() && deliverer_ != self && delivered_ < mine) {
    one_delivered_.Wait(events_mu_);
  }
  if (deliverer_ == std::thread::id()) {
    deliverer_ = self;
    while (!events_.empty()) {
      const std::function<void(CatalogObserver&)> event = std::move(events_.front());
      events_.pop_front();
      events_mu_.Unlock();
      try {
        if (CatalogObserver* observer = observer_.load(); observer != nullptr) event(*observer);
      } catch (const std::exception&) {
        // Out of memory: it misses this one. Those who wait must not wait for ever.
      }
      events_mu_.Lock();
      ++delivered_;
      one_delivered_.NotifyAll();
    }
    deliverer_ = {};
  }
  events_mu_.Unlock();
}

Result<std::unique_ptr<Catalog>> Catalog::Open(const std::vector<SourceSpec>& sources,
                                               CatalogOptions options) {
  if (sources.empty()) return Fail(ErrorKind::kInvalidArgument, "no source is given");
  auto impl = std::make_unique<Impl>(std::move(options));
  CHAINFS_TRY(impl->Start(sources));
  return std::unique_ptr<Catalog>(new Catalog(std::move(impl)));
}

Catalog::Catalog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Catalog::~Catalog() = default;

void Catalog::SetObserver(CatalogObserver* observer) { impl_->SetObserver(observer); }
void Catalog::SetWakeUp(std::function<void()> call) { context().wake_up().Set(std::move(call)); }
Status Catalog::Rescan() { return impl_->Rescan(); }
std::vector<std::string> Catalog::WatchedDirectories() const { return impl_->WatchedDirectories(); }
std::vector<DiskPtr> Catalog::Disks() const { return impl_->Disks(); }
DiskPtr Catalog::Find(std::string_view name) const { return impl_->Find(name); }
std::vector<BrokenImage> Catalog::Broken() const { return impl_->Broken(); }
bool Catalog::BeingChecked(std::string_view name) const { return impl_->BeingChecked(name); }
bool Catalog::AskFor(std::string_view name) { return impl_->AskFor(name); }
std::optional<std::chrono::steady_clock::time_point> Catalog::NextRetry() const {
  return impl_->NextRetry();
}
size_t Catalog::Remembered() { return impl_->Remembered(); }
std::vector<ImageNote> Catalog::Notes() const { return impl_->Notes(); }
const CatalogOptions& Catalog::options() const { return impl_->options(); }
BlockContext& Catalog::context() { return impl_->context(); }

Result<LayerPtr> Catalog::Snapshot(const DiskPtr& disk, const SnapshotRequest& request) {
  return impl_->Snapshot(disk, request);
}

Result<std::string> Catalog::PlanSnapshot(const DiskPtr& disk, const SnapshotRequest& request) {
  return impl_->PlanSnapshot(disk, request);
}

Result<LayerPtr> Catalog::FindLayer(const Disk& disk, std::string_view name) const {
  std::vector<LayerPtr> called;
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    if (layer->path == name) return layer;
    if (layer->name == name) called.push_back(layer);
  }
  if (called.size() == 1) return called.front();
  return Fail(ErrorKind::kNotFound,
              EscapeText(fmt::format("{}: {}", disk.name(),
                                     called.empty()
                                         ? fmt::format("no layer called {} in its chain", name)
                                         : fmt::format("{} layers are called {}; name the one by "
                                                       "its whole path",
                                                       called.size(), name))));
}

std::vector<std::string> Catalog::DisksUsing(const Layer& layer) const {
  return impl_->DisksUsing(layer);
}

RecordStore& Catalog::records() { return impl_->records(); }
LayerLeases& Catalog::leases() { return impl_->leases(); }

Result<BackingReference> Catalog::ReferenceTo(const Disk& disk, const Layer& overlay,
                                              const Layer& backing) {
  return impl_->ReferenceTo(disk, overlay, backing);
}

void Catalog::DropLayersBetween(const LayerPtr& top, const LayerPtr& base) {
  impl_->DropLayersBetween(top, base);
}

std::vector<LayerReport> Catalog::LayersReport() { return impl_->LayersReport(); }

std::vector<std::string> Catalog::Unneeded(const Layer& top, const Layers& left_out) {
  return impl_->Unneeded(top, left_out);
}

Status Catalog::MarkLeftOut(const Disk& disk, const Layer& top, const Layers& layers) {
  return impl_->MarkLeftOut(disk, top, layers);
}

LeftOutLayers Catalog::RemoveUnneeded(const Layer& top, const Layers& left_out, bool anywhere) {
  return impl_->RemoveUnneeded(top, left_out, anywhere);
}

Status Catalog::AllowWriting(const DiskPtr& disk) { return impl_->AllowWriting(disk); }

Result<LeftOutLayers> Catalog::Revert(const DiskPtr& disk, const Layer& to, bool anywhere,
                                      bool dry_run) {
  return impl_->Revert(disk, to, anywhere, dry_run);
}

void Catalog::AnnounceEnd() { impl_->AnnounceEnd(); }
Status Catalog::Close() { return impl_->Close(); }

}  // namespace chainfs
