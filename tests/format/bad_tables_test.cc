// SPDX-License-Identifier: Apache-2.0
//
// Damaged and hostile tables: which entries make an image read-only, which fail one request alone,
// and which are no damage at all. Whatever an entry names, no metadata of the image is given up,
// punched or overwritten, and what was acknowledged before stays.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kTableSpan = kCluster * (kCluster / 8);
constexpr uint64_t kSize = 2 * kTableSpan;  // two L1 entries
constexpr uint64_t kFilled = 16 * kCluster;
constexpr uint64_t kVictim = 8 * kCluster;  // the guest cluster whose entry is bad
constexpr uint64_t kCopied = qcow2::kEntryCopied;

// What lies below fails in a way that another image would call corrupt.
class CorruptBelow final : public BackingReader {
 public:
  Status ReadBelow(GuestOffset /*offset*/, std::span<std::byte> /*out*/) const override {
    return Fail(ErrorKind::kCorrupt, "base.qcow2: the image is corrupt: bad L2 entry 0x1");
  }
};

class BadTables : public ::testing::Test {
 protected:
  void Make(Qcow2CreateOptions options = {}) {
    options.virtual_size = kSize;
    options.cluster_bits = 12;
    const auto directory = host_->OpenRoot();
    ASSERT_TRUE(CreateQcow2(*directory, "a.qcow2", options));
    Open();
    expected_.assign(kSize, std::byte{0});
    std::fill_n(expected_.begin(), kFilled, std::byte{0x41});
    ASSERT_TRUE(image_->Write(GuestOffset(0), std::span(expected_).first(kFilled), nullptr));
    Close();
  }
  void Open() {
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    ASSERT_TRUE(image) << image.error().message;
    image_ = *std::move(image);
  }
  void Close() {
    ASSERT_TRUE(image_->Close());
    image_.reset();
  }

  // The file, changed while nobody has it open.
  void Patch(const std::function<void(Bytes&)>& change) {
    Bytes bytes = host_->Contents("a.qcow2");
    change(bytes);
    host_->PutFile("a.qcow2", bytes);
  }
  static uint64_t Get(const Bytes& bytes, uint64_t at) {
    return LoadBigEndian<uint64_t>(bytes.data() + at);
  }
  static uint64_t L1At(const Bytes& bytes, uint64_t guest) {
    return Get(bytes, qcow2::kOffsetL1Table) + guest / kTableSpan * 8;
  }
  static uint64_t L2At(const Bytes& bytes, uint64_t guest) {
    const uint64_t table = Get(bytes, L1At(bytes, guest)) & qcow2::kEntryOffsetMask;
    return table + guest % kTableSpan / kCluster * 8;
  }
  static uint64_t RefcountAt(const Bytes& bytes, uint64_t host) {
    return Get(bytes, Get(bytes, qcow2::kOffsetRefcountTable)) + host / kCluster * 2;
  }
  void SetL2(uint64_t guest, uint64_t entry) {
    Patch([&](Bytes& bytes) { StoreBigEndian(bytes.data() + L2At(bytes, guest), entry); });
  }
  qcow2::Qcow2Header Header() {
    const auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    return *qcow2::ReadQcow2Header(**file);
  }

  Status Write(uint64_t offset, uint64_t length, uint8_t value,
               const BackingReader* below = nullptr) {
    const Bytes data(length, std::byte{value});
    CHAINFS_TRY(image_->Write(GuestOffset(offset), data, below));
    std::fill_n(expected_.begin() + static_cast<ptrdiff_t>(offset), length, std::byte{value});
    return {};
  }
  // All but the victim, as the image file says when it is opened again.
  void ExpectContents() {
    image_.reset();
    SetL2(kVictim, 0);
    Open();
    auto shown = ReadWholeImage(*image_, nullptr);
    ASSERT_TRUE(shown) << shown.error().message;
    for (Bytes* bytes : {&*shown, &expected_}) {
      std::fill_n(bytes->begin() + kVictim, kCluster, std::byte{0});
    }
    EXPECT_EQ(Difference(expected_, *shown), "");
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
  std::unique_ptr<WritableImage> image_;
  Bytes expected_;
};

// ---- What is broken elsewhere fails one request.

TEST_F(BadTables, WhatIsBrokenBelowFailsThatRequestAlone) {
  Make({.backing = BackingReference{.name = "base.qcow2", .format = "qcow2"}});
  Open();
  const CorruptBelow below;
  ASSERT_TRUE(Write(0, 512, 'n'));  // not flushed yet
  const uint64_t hole = 2 * kFilled;
  for (const Status& failed : {
           image_->Write(GuestOffset(hole + 512), Bytes(512), &below),
           image_->Write(GuestOffset(hole - 512), Bytes(kCluster), &below),
           image_->WriteZeroes(GuestOffset(hole), 512, true, &below),
           image_->WriteZeroes(GuestOffset(hole + 512), 512, false, &below),
           image_->Grow(kSize + 3 * 512, &below, kSize + kCluster),
       }) {
    if (failed) continue;  // growing need not look below here
    EXPECT_EQ(failed.error().kind, ErrorKind::kIo) << failed.error().message;
    EXPECT_TRUE(failed.error().message.contains("base.qcow2")) << failed.error().message;
  }
  EXPECT_TRUE(image_->writable()) << image_->read_only_reason();
  EXPECT_TRUE(Write(kFilled, kCluster, 'e', &below));
  EXPECT_TRUE(image_->Discard(GuestOffset(hole), kCluster));
  EXPECT_TRUE(image_->Flush());
  EXPECT_FALSE(Header().corrupt());
}

TEST_F(BadTables, ACompressedClusterThatCannotBeDecodedIsNoBrokenTable) {
  Make();
  // One cluster of 0x41 is taken for compressed data.
  Patch([&](Bytes& bytes) {
    const uint64_t at = L2At(bytes, kVictim);
    const uint64_t host = Get(bytes, at) & qcow2::kEntryOffsetMask;
    StoreBigEndian(bytes.data() + at, qcow2::kEntryCompressed | host);
  });
  Open();
  ASSERT_TRUE(Write(0, 512, 'n'));
  const Status partial = Write(kVictim + 512, 512, 'x');
  ASSERT_FALSE(partial);
  EXPECT_EQ(partial.error().kind, ErrorKind::kIo);
  const Status zeroed = image_->WriteZeroes(GuestOffset(kVictim), 512, false, nullptr);
  ASSERT_FALSE(zeroed);
  EXPECT_EQ(zeroed.error().kind, ErrorKind::kIo);
  EXPECT_TRUE(image_->writable());
  EXPECT_TRUE(Write(kVictim, kCluster, 'w')) << "all of it is overwritten";
  EXPECT_TRUE(image_->Flush());
  EXPECT_FALSE(Header().corrupt());
  ExpectContents();
}

TEST_F(BadTables, ReadingABadEntryWritesNothing) {
  Make();
  SetL2(kVictim, 0x1234567800 | 0x200);
  Open();
  ASSERT_TRUE(Write(0, 512, 'n'));
  const auto read = image_->Map(GuestOffset(kVictim), 512, MapDetail::kFast);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt);
  EXPECT_TRUE(image_->writable());
  EXPECT_TRUE(image_->Flush());
  EXPECT_FALSE(Header().corrupt());
}

TEST_F(BadTables, WritingOverABadEntryKeepsWhatWasAcknowledged) {
  Make();
  SetL2(kVictim, 0x1234567800 | 0x200);
  Open();
  ASSERT_TRUE(Write(0, 512, 'n'));
  ASSERT_TRUE(Write(kTableSpan, 512, 'm'));  // a new table
  const Status refused = Write(kVictim, 512, 'x');
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(image_->writable());
  EXPECT_TRUE(image_->read_only_reason().contains("L2 entry")) << image_->read_only_reason();
  EXPECT_FALSE(image_->read_only_reason().contains("a.qcow2")) << "who asks knows the file";
  EXPECT_TRUE(image_->Flush());
  EXPECT_TRUE(Header().corrupt());
  ExpectContents();
}

// ---- Entries that name what they must not.

struct Target {
  std::string name;
  std::function<uint64_t(Bytes&)> host;  // what the entry names
};
struct Verb {
  std::string name;
  std::function<Status(WritableImage&)> change;  // of kVictim
};

const Target kTargets[] = {
    {"Header", [](Bytes&) { return uint64_t{0}; }},
    {"L1", [](Bytes& b) { return LoadBigEndian<uint64_t>(b.data() + qcow2::kOffsetL1Table); }},
    {"L2",
     [](Bytes& b) {
       const auto l1 = LoadBigEndian<uint64_t>(b.data() + qcow2::kOffsetL1Table);
       return LoadBigEndian<uint64_t>(b.data() + l1) & qcow2::kEntryOffsetMask;
     }},
    {"RefcountTable",
     [](Bytes& b) { return LoadBigEndian<uint64_t>(b.data() + qcow2::kOffsetRefcountTable); }},
    {"RefcountBlock",
     [](Bytes& b) {
       const auto table = LoadBigEndian<uint64_t>(b.data() + qcow2::kOffsetRefcountTable);
       return LoadBigEndian<uint64_t>(b.data() + table);
     }},
    {"PastTheEnd", [](Bytes& b) { return RoundUp(b.size(), kCluster) + 64 * kCluster; }},
    {"FarPastTheEnd", [](Bytes&) { return uint64_t{1} << 48; }},
};

const Verb kVerbs[] = {
    {"Write",
     [](WritableImage& i) { return i.Write(GuestOffset(kVictim), Bytes(kCluster), nullptr); }},
    {"WritePart",
     [](WritableImage& i) { return i.Write(GuestOffset(kVictim + 512), Bytes(512), nullptr); }},
    {"Zero",
     [](WritableImage& i) {
       return i.WriteZeroes(GuestOffset(kVictim), kCluster, false, nullptr);
     }},
    {"ZeroKeeping",
     [](WritableImage& i) { return i.WriteZeroes(GuestOffset(kVictim), kCluster, true, nullptr); }},
    {"ZeroPart",
     [](WritableImage& i) { return i.WriteZeroes(GuestOffset(kVictim), 512, false, nullptr); }},
    {"Discard", [](WritableImage& i) { return i.Discard(GuestOffset(kVictim), kCluster); }},
};

enum class EntryKind : uint8_t { kShared, kUnshared, kZeroShared, kZeroUnshared, kCompressed };
constexpr EntryKind kEntryKinds[] = {EntryKind::kShared, EntryKind::kUnshared,
                                     EntryKind::kZeroShared, EntryKind::kZeroUnshared,
                                     EntryKind::kCompressed};

uint64_t EntryFor(EntryKind kind, uint64_t host) {
  switch (kind) {
    case EntryKind::kShared:
      return host;
    case EntryKind::kUnshared:
      return host | kCopied;
    case EntryKind::kZeroShared:
      return host | qcow2::kEntryZero;
    case EntryKind::kZeroUnshared:
      return host | qcow2::kEntryZero | kCopied;
    case EntryKind::kCompressed:
      return host | qcow2::kEntryCompressed;
  }
  return 0;
}

TEST_F(BadTables, MetadataIsNeverGivenUpOrOverwritten) {
  for (const Target& target : kTargets) {
    for (const Verb& verb : kVerbs) {
      for (const EntryKind kind : kEntryKinds) {
        SCOPED_TRACE(target.name + " " + verb.name + " " + std::to_string(static_cast<int>(kind)));
        host_ = MemHost::Create();
        Make();
        uint64_t named = 0;
        Patch([&](Bytes& bytes) { named = target.host(bytes); });
        if (named == 0 && kind != EntryKind::kCompressed) continue;  // an empty entry
        if (named >> (62 - 4) != 0) continue;
        SetL2(kVictim, EntryFor(kind, named));
        Open();
        ASSERT_TRUE(Write(0, 512, 'n'));
        ASSERT_TRUE(Write(kTableSpan, 512, 'm'));
        const Status changed = verb.change(*image_);
        if (!changed) {
          // A part of a "compressed" table cannot be kept, which is no fault of the tables.
          const bool part = verb.name == "WritePart" || verb.name == "ZeroPart";
          EXPECT_TRUE(!image_->writable() || (part && kind == EntryKind::kCompressed))
              << changed.error().message;
        }
        // Whatever it makes of that, the rest is as it was, and goes on where it may.
        for (int i = 0; i < 8 && image_->writable(); ++i) {
          ASSERT_TRUE(Write(0, 512, static_cast<uint8_t>('o' + i)));
          ASSERT_TRUE(image_->Flush());
        }
        ASSERT_TRUE(image_->Flush());
        ASSERT_TRUE(image_->Close());
        ExpectContents();
      }
    }
  }
}

TEST_F(BadTables, ADirectoryOfBitmapsThatNobodyMaintainsIsLeftAlone) {
  Make();
  uint64_t directory = 0;
  Patch([&](Bytes& bytes) {
    // Its cluster is counted; an entry names it.
    directory = RoundUp(bytes.size(), kCluster);
    bytes.resize(directory + kCluster, std::byte{0x42});
    StoreBigEndian(bytes.data() + RefcountAt(bytes, directory), uint16_t{1});
    StoreBigEndian(bytes.data() + L2At(bytes, kVictim), directory);
    const size_t at = LoadBigEndian<uint32_t>(bytes.data() + qcow2::kOffsetHeaderLength);
    StoreBigEndian(bytes.data() + at, qcow2::kExtensionBitmaps);
    StoreBigEndian(bytes.data() + at + 4, uint32_t{24});
    StoreBigEndian(bytes.data() + at + 8, uint32_t{1});
    StoreBigEndian(bytes.data() + at + 16, uint64_t{64});
    StoreBigEndian(bytes.data() + at + 24, directory);
    StoreBigEndian(bytes.data() + at + 32, uint64_t{0});
  });
  Open();
  ASSERT_TRUE(image_->writable()) << image_->read_only_reason();
  EXPECT_FALSE(image_->Discard(GuestOffset(kVictim), kCluster));
  EXPECT_FALSE(image_->writable());
  ASSERT_TRUE(image_->Close());
  EXPECT_EQ(host_->Contents("a.qcow2")[directory], std::byte{0x42});
}

TEST_F(BadTables, AClusterThatTwoEntriesNameIsGivenUpOnce) {
  for (const bool at_once : {false, true}) {
    for (const bool flush : {false, true}) {
      host_ = MemHost::Create();
      Make();
      Patch([&](Bytes& bytes) {
        const uint64_t entry = Get(bytes, L2At(bytes, kVictim + kCluster));
        StoreBigEndian(bytes.data() + L2At(bytes, kVictim), entry);
      });
      Open();
      if (at_once) {
        EXPECT_FALSE(image_->Discard(GuestOffset(kVictim), 2 * kCluster));
      } else {
        EXPECT_TRUE(image_->Discard(GuestOffset(kVictim), kCluster));
        for (int i = 0; i < 4 && flush; ++i) ASSERT_TRUE(image_->Flush());
        EXPECT_FALSE(image_->Discard(GuestOffset(kVictim + kCluster), kCluster));
      }
      EXPECT_FALSE(image_->writable());
      EXPECT_TRUE(image_->read_only_reason().contains("refcount")) << image_->read_only_reason();
      EXPECT_TRUE(image_->Close());
    }
  }
}

TEST_F(BadTables, TablesThatLieOnOneAnotherAreReadOnly) {
  const std::function<void(Bytes&)> damages[] = {
      // One L2 table under two L1 entries.
      [](Bytes& b) { StoreBigEndian(b.data() + L1At(b, kTableSpan), Get(b, L1At(b, 0))); },
      // An L2 table in the header, in the L1 table, in the refcounts.
      [](Bytes& b) {
        StoreBigEndian(b.data() + L1At(b, kTableSpan), Get(b, qcow2::kOffsetL1Table) | kCopied);
      },
      [](Bytes& b) {
        StoreBigEndian(b.data() + L1At(b, kTableSpan),
                       Get(b, qcow2::kOffsetRefcountTable) | kCopied);
      },
      [](Bytes& b) {
        StoreBigEndian(b.data() + L1At(b, kTableSpan),
                       Get(b, Get(b, qcow2::kOffsetRefcountTable)) | kCopied);
      },
      // A refcount block in the L1 table, and a second one in the first.
      [](Bytes& b) {
        StoreBigEndian(b.data() + Get(b, qcow2::kOffsetRefcountTable) + 8,
                       Get(b, qcow2::kOffsetL1Table));
      },
      [](Bytes& b) {
        const uint64_t table = Get(b, qcow2::kOffsetRefcountTable);
        StoreBigEndian(b.data() + table + 8, Get(b, table));
      },
      // Not aligned.
      [](Bytes& b) { StoreBigEndian(b.data() + L1At(b, kTableSpan), kCopied | 0x10200); },
  };
  for (const auto& damage : damages) {
    host_ = MemHost::Create();
    Make();
    Patch(damage);
    const Bytes before = host_->Contents("a.qcow2");
    Open();
    EXPECT_FALSE(image_->writable());
    EXPECT_TRUE(image_->read_only_reason().contains("corrupt")) << image_->read_only_reason();
    EXPECT_FALSE(Write(0, 512, 'x'));
    EXPECT_TRUE(image_->Flush());
    EXPECT_TRUE(image_->Map(GuestOffset(0), 512, MapDetail::kFast)) << "it can be read";
    EXPECT_TRUE(image_->Close());
    EXPECT_EQ(host_->Contents("a.qcow2"), before) << "not even its header is written";
  }
}

// ---- Tables that QEMU shares.

class SharedTables : public BadTables, public ::testing::WithParamInterface<int> {
 protected:
  // Counts `count` references to the tables and data, and drops COPIED, as an internal snapshot
  // does.
  void Share(uint16_t count) {
    Patch([&](Bytes& bytes) {
      const auto share = [&](uint64_t at) {
        const uint64_t entry = Get(bytes, at) & ~kCopied;
        StoreBigEndian(bytes.data() + at, entry);
        StoreBigEndian(bytes.data() + RefcountAt(bytes, entry), count);
      };
      for (uint64_t guest = 0; guest < kFilled; guest += kCluster) share(L2At(bytes, guest));
      share(L1At(bytes, 0));
    });
  }
};

TEST_P(SharedTables, AreCopiedBeforeTheyAreChanged) {
  for (const Verb& verb : kVerbs) {
    SCOPED_TRACE(verb.name);
    host_ = MemHost::Create();
    Make();
    Share(static_cast<uint16_t>(GetParam()));
    const Bytes before = host_->Contents("a.qcow2");
    Open();
    ASSERT_TRUE(image_->writable());
    const Status changed = verb.change(*image_);
    EXPECT_TRUE(changed) << changed.error().message;
    EXPECT_TRUE(Write(kFilled, kCluster, 'f'));
    EXPECT_TRUE(Write(kTableSpan, kCluster, 't'));
    EXPECT_TRUE(image_->writable()) << image_->read_only_reason();
    Close();
    const Bytes after = host_->Contents("a.qcow2");
    EXPECT_FALSE(Header().corrupt());
    if (GetParam() > 1) {
      const uint64_t table = Get(before, L1At(before, 0));
      EXPECT_TRUE(std::equal(before.begin() + static_cast<ptrdiff_t>(table),
                             before.begin() + static_cast<ptrdiff_t>(table + kCluster),
                             after.begin() + static_cast<ptrdiff_t>(table)))
          << "whoever shares the table sees it unchanged";
      EXPECT_NE(Get(after, L1At(after, 0)) & qcow2::kEntryOffsetMask, table);
    }
    const auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    const auto report = CheckQcow2(**file);
    ASSERT_TRUE(report);
    if (GetParam() > 1) {
      EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    }
    ExpectContents();
  }
}

TEST_P(SharedTables, ShowTheSameUnderRandomChanges) {
  Make();
  Share(static_cast<uint16_t>(GetParam()));
  Open();
  Random random;
  ImageModel model(*image_, nullptr, expected_);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 50; ++i) {
      const Status done = model.RandomOperation(random, kCluster);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(model.Verify(), "");
    Close();
    Open();
    model.Reopened(*image_);
    ASSERT_EQ(model.Verify(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Refcount, SharedTables, ::testing::Values(1, 2, 3));

TEST_F(BadTables, ATableThatNothingCountsIsNotChanged) {
  Make();
  Patch([&](Bytes& bytes) {
    const uint64_t entry = Get(bytes, L1At(bytes, 0)) & ~kCopied;
    StoreBigEndian(bytes.data() + L1At(bytes, 0), entry);
    StoreBigEndian(bytes.data() + RefcountAt(bytes, entry), uint16_t{0});
  });
  Open();
  EXPECT_FALSE(Write(kFilled, kCluster, 'x'));
  EXPECT_FALSE(image_->writable());
}

}  // namespace
}  // namespace chainfs
