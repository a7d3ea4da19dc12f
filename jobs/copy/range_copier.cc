// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/range_copier.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

namespace chainfs::jobs {
namespace {

// Below this a copy within the kernel costs more than it saves.
constexpr uint64_t kSmallestShare = 4096;
// At most so much is held in memory by one thread.
constexpr uint64_t kBufferBytes = 2 << 20;

std::unexpected<ChunkFailure> ReadFailed(Error error) {
  return std::unexpected(ChunkFailure{std::move(error), false});
}
std::unexpected<ChunkFailure> WriteFailed(Error error) {
  return std::unexpected(ChunkFailure{std::move(error), true});
}

bool AllZeros(std::span<const std::byte> data) {
  if (data.empty()) return true;
  return data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

std::span<std::byte> ThreadBuffer() {
  thread_local std::vector<std::byte> buffer(kBufferBytes);
  return buffer;
}

}  // namespace

RangeCopier::RangeCopier(const CopySource& source, CopySink& sink, CopySelection selection)
    : source_(source), sink_(sink), cutter_(selection, sink.cluster_size()) {}

bool RangeCopier::MayShare(const CopySource::View& view, const CopyPiece& piece) const {
  if (piece.length() < kSmallestShare) return false;
  const File* const file = view.HostFile(piece.layer, piece.source);
  const ReaderLock lock(mu_);
  return file != nullptr && !cannot_share_.contains(file);
}

std::vector<CopyPiece> RangeCopier::WorthSharing(const CopySource::View& view,
                                                 const std::vector<CopyPiece>& pieces) const {
  std::vector<CopyPiece> merged;
  merged.reserve(pieces.size());
  for (CopyPiece piece : pieces) {
    if (piece.action == CopyAction::kShare && !MayShare(view, piece)) {
      piece.action = CopyAction::kCopy;
    }
    PieceCutter::Append(merged, piece);
  }
  return merged;
}

template <typename Act>
ChunkResult RangeCopier::ForEachPiece(uint64_t begin, uint64_t end, Act act) {
  const std::unique_ptr<CopySource::View> view = source_.EnterReading();
  uint64_t copied = 0;
  for (uint64_t at = begin; at < end;) {
    const Result<CopyRange> taken = sink_.Taken(at, end);
    if (!taken) return ReadFailed(taken.error());
    if (taken->begin == taken->end) break;
    const Result<std::vector<CopyPiece>> pieces = cutter_.Cut(*view, *taken);
    if (!pieces) return ReadFailed(pieces.error());
    for (const CopyPiece& piece : WorthSharing(*view, *pieces)) {
      if (piece.action == CopyAction::kSkip) continue;
      const ChunkResult done = act(*view, piece);
      if (!done) return done;
      copied += *done;
    }
    at = taken->end;
  }
  return copied;
}

ChunkResult RangeCopier::Process(uint64_t offset, uint64_t length) {
  return ForEachPiece(offset, offset + length,
                      [this](const CopySource::View& view, const CopyPiece& piece) {
                        return Perform(view, piece);
                      });
}

ChunkResult RangeCopier::Estimate(uint64_t offset, uint64_t length) {
  return ForEachPiece(offset, offset + length,
                      [](const CopySource::View&, const CopyPiece& piece) -> ChunkResult {
                        return piece.action == CopyAction::kZero ? 0 : piece.length();
                      });
}

ChunkResult RangeCopier::Perform(const CopySource::View& view, const CopyPiece& piece) {
  if (piece.action == CopyAction::kZero) {
    Status status = sink_.Zero(GuestOffset(piece.begin), piece.length());
    if (!status) return WriteFailed(std::move(status).error());
    return 0;
  }
  return piece.action == CopyAction::kShare ? Share(view, piece)
                                            : Copy(view, piece.begin, piece.end);
}

ChunkResult RangeCopier::Share(const CopySource::View& view, const CopyPiece& piece) {
  File& file = *view.HostFile(piece.layer, piece.source);
  Status status = sink_.Share(GuestOffset(piece.begin), piece.length(), file, piece.host);
  if (status) return piece.length();
  if (status.error().kind != ErrorKind::kUnsupported) {
    return WriteFailed(std::move(status).error());
  }
  {
    const WriterLock lock(mu_);
    cannot_share_.insert(&file);
  }
  return Copy(view, piece.begin, piece.end);
}

ChunkResult RangeCopier::Copy(const CopySource::View& view, uint64_t begin, uint64_t end) {
  const std::span<std::byte> buffer = ThreadBuffer();
  uint64_t copied = 0;
  while (begin < end) {
    const std::span<std::byte> data = buffer.first(std::min<uint64_t>(buffer.size(), end - begin));
    Status status = view.Read(GuestOffset(begin), data);
    if (!status) return ReadFailed(std::move(status).error());
    status = CopyLoaded(begin, data, copied);
    if (!status) return WriteFailed(std::move(status).error());
    begin += data.size();
  }
  return copied;
}

// Runs of clusters that turn out to be zeros become zeros of the sink, the others data.
Status RangeCopier::CopyLoaded(uint64_t begin, std::span<const std::byte> data, uint64_t& copied) {
  const auto cluster_at = [&](size_t at) {
    return data.subspan(at, std::min<size_t>(cutter_.cluster_size(), data.size() - at));
  };
  for (size_t at = 0; at < data.size();) {
    const bool zero = AllZeros(cluster_at(at));
    size_t stop = at;
    while (stop < data.size() && AllZeros(cluster_at(stop)) == zero) {
      stop += cluster_at(stop).size();
    }
    const GuestOffset where(begin + at);
    if (!zero) {
      CHAINFS_TRY(sink_.Write(where, data.subspan(at, stop - at)));
      copied += stop - at;
    } else if (where.value < cutter_.selection().zeros_until) {
      CHAINFS_TRY(sink_.Zero(where, stop - at));
    }
    at = stop;
  }
  return {};
}

}  // namespace chainfs::jobs
