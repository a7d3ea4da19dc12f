// SPDX-License-Identifier: Apache-2.0
//
// PieceCutter: what is to be done with each cluster, from maps alone.
#include "jobs/copy/piece_cutter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kUnit = 1024;
constexpr auto kData = ExtentKind::kData;
constexpr auto kZero = ExtentKind::kZero;
constexpr auto kNone = ExtentKind::kUnallocated;
constexpr auto kCompressed = ExtentKind::kCompressed;

// A source that is nothing but a map, in units of 1 KiB.
class MapOnly final : public CopySource::View {
 public:
  MapOnly& Add(ExtentKind kind, uint64_t units, uint32_t layer = 0, uint64_t host = 0,
               uint16_t source = 0) {
    extents_.push_back({.kind = kind,
                        .length = units * kUnit,
                        .layer = layer,
                        .host = HostOffset(host * kUnit),
                        .source = source});
    return *this;
  }
  Result<StackExtent> Map(GuestOffset offset, uint64_t length) const override {
    uint64_t begin = 0;
    for (StackExtent extent : extents_) {
      const uint64_t end = begin + extent.length;
      if (offset.value < end) {
        if (extent.kind == kData) extent.host += offset.value - begin;
        extent.length = std::min(length, end - offset.value);
        return extent;
      }
      begin = end;
    }
    return Fail(ErrorKind::kIo, "no map there");
  }
  Status Read(GuestOffset, std::span<std::byte>) const override {
    return Fail(ErrorKind::kIo, "nothing to read");
  }
  File* HostFile(uint32_t, uint16_t) const override { return nullptr; }

 private:
  std::vector<StackExtent> extents_;
};

// "0-4 share 1:8, 4-8 copy": units; of a piece to share the layer and where it lies.
std::string Pieces(const MapOnly& source, CopySelection selection, uint64_t cluster_units,
                   uint64_t begin, uint64_t end) {
  const PieceCutter cutter(selection, cluster_units * kUnit);
  const auto pieces = cutter.Cut(source, {begin * kUnit, end * kUnit});
  if (!pieces) return pieces.error().message;
  constexpr const char* kNames[] = {"skip", "zero", "copy", "share"};
  std::string text;
  for (const CopyPiece& piece : *pieces) {
    if (!text.empty()) text += ", ";
    text += std::to_string(piece.begin / kUnit) + "-" + std::to_string(piece.end / kUnit) + " " +
            kNames[static_cast<int>(piece.action)];
    if (piece.action == CopyAction::kShare) {
      text += " " + std::to_string(piece.layer) + ":" + std::to_string(piece.host.value / kUnit);
    }
  }
  return text;
}

TEST(PieceCutterTest, OfNothingButDataEverythingIsShared) {
  MapOnly source;
  source.Add(kData, 8, 0, 100).Add(kData, 4, 0, 108).Add(kData, 4, 1, 112);
  EXPECT_EQ(Pieces(source, {}, 4, 0, 16), "0-12 share 0:100, 12-16 share 1:112");
  EXPECT_EQ(Pieces(source, {}, 4, 4, 12), "4-12 share 0:104");
}

TEST(PieceCutterTest, SourcesOfOneLayerAreToldApart) {
  MapOnly source;
  source.Add(kData, 4, 0, 100, 0).Add(kData, 4, 0, 104, 1);
  EXPECT_EQ(Pieces(source, {}, 4, 0, 8), "0-4 share 0:100, 4-8 share 0:104");
}

TEST(PieceCutterTest, AClusterFromSeveralPlacesIsCopied) {
  MapOnly source;
  source.Add(kData, 2, 0, 100).Add(kData, 2, 0, 200).Add(kCompressed, 4).Add(kZero, 1);
  source.Add(kData, 3, 0, 300);
  EXPECT_EQ(Pieces(source, {}, 4, 0, 12), "0-12 copy");
}

TEST(PieceCutterTest, WhatTheSelectionDoesNotOwnIsSkipped) {
  MapOnly source;
  source.Add(kData, 4, 0, 100).Add(kData, 4, 2, 50).Add(kZero, 4, 2).Add(kNone, 4);
  EXPECT_EQ(Pieces(source, {.layers = 2}, 4, 0, 16), "0-4 share 0:100, 4-16 skip");
  EXPECT_EQ(Pieces(source, {.layers = 3}, 4, 0, 16),
            "0-4 share 0:100, 4-8 share 2:50, 8-12 zero, 12-16 skip");
}

TEST(PieceCutterTest, OneOwnedByteMakesTheWholeClusterNeeded) {
  MapOnly source;
  source.Add(kData, 3, 2, 100).Add(kZero, 1, 0).Add(kNone, 3).Add(kData, 1, 1, 9);
  EXPECT_EQ(Pieces(source, {.layers = 2}, 4, 0, 8), "0-8 copy");
  EXPECT_EQ(Pieces(source, {.layers = 1}, 4, 0, 8), "0-4 copy, 4-8 skip");
}

TEST(PieceCutterTest, ZerosAreWrittenAsFarAsTheSinkShowsSomethingElse) {
  MapOnly source;
  source.Add(kZero, 12, 0).Add(kData, 4, 0, 7);
  EXPECT_EQ(Pieces(source, {.layers = 1, .zeros_until = 0}, 4, 0, 16),
            "0-12 skip, 12-16 share 0:7");
  EXPECT_EQ(Pieces(source, {.layers = 1, .zeros_until = 4 * kUnit + 1}, 4, 0, 16),
            "0-8 zero, 8-12 skip, 12-16 share 0:7");
}

TEST(PieceCutterTest, WhatNoLayerHasIsZerosOnlyOfAllLayers) {
  MapOnly source;
  source.Add(kNone, 8);
  EXPECT_EQ(Pieces(source, {}, 4, 0, 8), "0-8 zero");
  EXPECT_EQ(Pieces(source, {.zeros_until = 0}, 4, 0, 8), "0-8 skip");
  EXPECT_EQ(Pieces(source, {.layers = 5}, 4, 0, 8), "0-8 skip");
}

TEST(PieceCutterTest, TheLastClusterMayBeShort) {
  MapOnly source;
  source.Add(kData, 4, 0, 10).Add(kZero, 1, 0);
  EXPECT_EQ(Pieces(source, {}, 4, 0, 5), "0-4 share 0:10, 4-5 zero");
}

TEST(PieceCutterTest, AFailureOfTheMapIsItsOwn) {
  EXPECT_EQ(Pieces(MapOnly().Add(kData, 4), {}, 4, 0, 8), "no map there");
}

}  // namespace
}  // namespace chainfs::jobs
