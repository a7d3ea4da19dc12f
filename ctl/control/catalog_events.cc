// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/catalog_events.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>
#include <string>

namespace chainfs::control {

CatalogEvents::CatalogEvents(Catalog& catalog, ServedDisks& disks, LastErrors& errors,
                             jobs::EventLog& events, jobs::JobManager& jobs, Compactor& compactor)
    : catalog_(catalog),
      disks_(disks),
      errors_(errors),
      events_(events),
      jobs_(jobs),
      compactor_(compactor) {
  catalog.SetObserver(this);
  // Quietly: these were there before.
  for (const DiskPtr& disk : catalog.Disks()) (void)disks_.Add(disk);
  for (const BrokenImage& image : catalog.Broken()) ImageBroken(image);
  for (const ImageNote& note : catalog.Notes()) {
    if (note.warning) {
      Warned(note);
    } else {
      spdlog::info("{}{}{}", note.name, note.name.empty() ? "" : ": ", note.text);
    }
  }
}

CatalogEvents::~CatalogEvents() { catalog_.SetObserver(nullptr); }

void CatalogEvents::Present(Presentation* presentation) {
  presentation_ = presentation;
  // Waits until the one before is not being told of anything any more.
  catalog_.SetObserver(this);
  if (presentation == nullptr) return;
  for (const ServedDiskPtr& disk : disks_.List()) presentation->DiskAdded(disk);
}

void CatalogEvents::ReleaseEventReaders() {
  if (Presentation* const shown = presentation_; shown != nullptr) shown->ReleaseEventReaders();
}

Status CatalogEvents::TakeInChanges(const Disk& disk, uint64_t from) {
  Presentation* const shown = presentation_;
  return shown == nullptr ? Status() : shown->TakeInChanges(disk, from);
}

bool CatalogEvents::LetsWrite(const Disk* disk, const Caller& caller) const {
  const Presentation* const shown = presentation_;
  return shown == nullptr || shown->LetsWrite(disk, caller);
}

void CatalogEvents::DiskAdded(const DiskPtr& disk) {
  const auto [served, added] = disks_.Add(disk);
  if (!added) return;
  spdlog::info("disk {} appeared", disk->name());
  errors_.DiskAppeared(*served);
  if (Presentation* const shown = presentation_; shown != nullptr) shown->DiskAdded(served);
  jobs_.RetryRecorded();
  compactor_.LookSoon();
}

void CatalogEvents::DiskRemoved(const DiskPtr& disk) {
  if (!disks_.Remove(*disk)) return;
  spdlog::info("disk {} is gone", disk->name());
  if (Presentation* const shown = presentation_; shown != nullptr) shown->DiskRemoved(*disk);
}

void CatalogEvents::ChainChanged(const DiskPtr& disk) {
  // Contents are the same; only what is shown of allocation and mode may differ.
  if (Presentation* const shown = presentation_; shown != nullptr) shown->AttributesChanged(*disk);
  events_.Publish("CHAIN_CHANGE", {jobs::TextField("disk", disk->name()),
                                   jobs::NumberField("generation", disk->chain()->generation)});
  compactor_.LookSoon();
}

void CatalogEvents::ContentsChanged(const DiskPtr& disk) {
  if (Presentation* const shown = presentation_; shown != nullptr) shown->ContentsChanged(*disk);
}

void CatalogEvents::SizeChanged(const DiskPtr& disk, bool shrunk) {
  if (Presentation* const shown = presentation_; shown != nullptr) {
    // What lay beyond the end may be cached.
    shrunk ? shown->ContentsChanged(*disk) : shown->AttributesChanged(*disk);
    shown->SizeChanged(*disk);
  }
  events_.Publish("DISK_RESIZE",
                  {jobs::TextField("disk", disk->name()), jobs::NumberField("size", disk->size())});
}

void CatalogEvents::AccessChanged(const DiskPtr& disk) {
  if (Presentation* const shown = presentation_; shown != nullptr) shown->AttributesChanged(*disk);
  jobs_.RetryRecorded();
  compactor_.LookSoon();
}

void CatalogEvents::DiskError(const Disk& disk, std::string_view operation, const Error& error) {
  const ServedDiskPtr served = disks_.Find(disk);
  if (served != nullptr) {
    errors_.OperationFailed(*served, operation, error);
    // A guest that keeps trying must not fill the log: one report per second and disk is enough.
    const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                            std::chrono::steady_clock::now().time_since_epoch())
                            .count();
    if (served->last_report.exchange(now) == now) return;
  }
  spdlog::error("disk {}: {} failed: {}", disk.name(), operation, error.message);
  if (const std::string why = disk.ReadOnlyReason(); !why.empty() && operation != "read") {
    spdlog::error("disk {} is read-only: {}", disk.name(), why);
  }
  if (Presentation* const shown = presentation_; shown != nullptr) shown->AttributesChanged(disk);
  events_.Publish(error.kind == ErrorKind::kCorrupt ? "BLOCK_IMAGE_CORRUPTED" : "BLOCK_IO_ERROR",
                  {jobs::TextField("disk", disk.name()), jobs::TextField("operation", operation),
                   jobs::TextField("error", ErrorKindName(error.kind)),
                   jobs::TextField("reason", error.message)});
}

void CatalogEvents::Warned(const ImageNote& note) {
  spdlog::warn("{}: {}", note.name, note.text);
  if (!note.lost) return;
  const ServedDiskPtr served = disks_.Find(note.name);
  if (served != nullptr) errors_.OperationRefused(served.get(), "scan", ENOENT, note.text);
}

void CatalogEvents::ImageBroken(const BrokenImage& image) {
  const bool named = image.error.message.starts_with(image.path);  // the path once is enough
  const std::string what =
      fmt::format("{}{}{}", named ? "" : image.path, named ? "" : ": ", image.error.message);
  spdlog::warn("an image is not shown: {}", what);
  // A backing file or an active layer is lost. What else is wrong with an image is in the list.
  if (image.error.kind == ErrorKind::kNotFound) {
    errors_.OperationRefused(nullptr, "scan", ENOENT, what);
  }
}

}  // namespace chainfs::control
