// SPDX-License-Identifier: Apache-2.0
//
// An image in use, beside a buffer that says what it must show (the oracle of image_model.h). The
// input is how the image is made, which of its 8-byte words are overwritten then, and what is done
// with it. An image that our checker finds sound must behave: show what was written, and still be
// sound at the end. Of one that is damaged nothing is expected but an answer.

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 128 << 10;
constexpr uint64_t kMostRead = 1 << 20;

class Session {
 public:
  explicit Session(FuzzInput input) : input_(input) {}

  void Run() {
    Make();
    Overwrite();
    const auto report = CheckQcow2(*OpenFile());
    sound_ = report && report->corruptions == 0;
    if (!Open()) return;
    if (image_->virtual_size() > kMostRead) return Wander();
    const auto contents = ReadWholeImage(*image_, below_.get());
    if (!contents) return FUZZ_ASSERT(!whole_);
    Use(*contents);
  }

 private:
  std::unique_ptr<File> OpenFile() {
    return *host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
  }
  bool Open() {
    auto image = OpenQcow2Image(OpenFile(), cache_, {.owner = cache_.NewOwner()});
    if (image) image_ = *std::move(image);
    return image.has_value();
  }

  void Make() {
    const auto choice = input_.Take<uint8_t>();
    Qcow2CreateOptions options = {.virtual_size = kSize};
    options.cluster_bits = 9 + choice % 8;
    options.refcount_order = input_.Take<uint8_t>() % 7;
    const auto flags = input_.Take<uint8_t>();
    options.lazy_refcounts = (flags & 1) != 0;
    options.zstd = (flags & 2) != 0;
    options.extended_l2 = (flags & 4) != 0 && options.cluster_bits >= 14;
    if ((flags & 16) != 0) {
      options.version = 2;
      options.refcount_order = 4;
      options.lazy_refcounts = options.zstd = options.extended_l2 = false;
    }
    if ((flags & 8) != 0) {
      options.backing = BackingReference{.name = "base.raw", .format = "raw"};
      std::vector<std::byte> bytes(kSize);
      Random(choice).Fill(bytes);
      below_ = std::make_unique<BufferBelow>(std::move(bytes));
    }
    FUZZ_ASSERT(CreateQcow2(*host_->OpenRoot(), "a.qcow2", options));
    FUZZ_ASSERT(Open());
    ImageModel model(*image_, below_.get(), *ReadWholeImage(*image_, below_.get()));
    for (unsigned count = input_.Take<uint8_t>() % 16; count > 0; --count) {
      Random random(input_.Take<uint16_t>());
      FUZZ_ASSERT(model.RandomOperation(random, image_->cluster_size()));
    }
    // Some end without closing, as a daemon that is killed does.
    if ((flags & 32) == 0) {
      FUZZ_ASSERT(image_->Close());
    } else {
      FUZZ_ASSERT(image_->Flush());
    }
    image_.reset();
  }

  void Overwrite() {
    const unsigned count = input_.Take<uint8_t>() % 8;
    whole_ = count == 0;
    std::vector<std::byte> bytes = host_->Contents("a.qcow2");
    for (unsigned i = 0; i < count; ++i) {
      const uint64_t at = input_.Below(bytes.size() / 8) * 8;
      const auto mask = input_.Take<uint64_t>();
      StoreBigEndian(bytes.data() + at, LoadBigEndian<uint64_t>(bytes.data() + at) ^ mask);
    }
    if (count > 0) host_->PutFile("a.qcow2", bytes);
  }

  // Nothing but answers.
  void Wander() {
    for (int i = 0; i < 16 && !input_.empty(); ++i) {
      const GuestOffset at(input_.Take<uint64_t>() % image_->virtual_size());
      (void)image_->Map(at, 1 << 20, MapDetail::kPrecise);
      (void)image_->Write(at, std::vector<std::byte>(512), below_.get());
      (void)image_->Discard(at, 1 << 20);
    }
    (void)image_->Close();
  }

  void Use(const std::vector<std::byte>& contents) {
    ImageModel model(*image_, below_.get(), contents);
    // Damage that shows only now may fail anything; what does not fail counts.
    bool failed = false;
    for (int i = 0; i < 64 && !input_.empty() && !failed; ++i) {
      Random random(input_.Take<uint16_t>());
      if (image_->virtual_size() == 0) break;
      failed = !model.RandomOperation(random, image_->cluster_size());
      if (random.OneIn(16) && !failed) {
        failed = !image_->Close();
        image_.reset();
        if (!Open()) return FUZZ_ASSERT(!sound_);
        model.Reopened(*image_);
      }
    }
    if (!sound_) return;
    FUZZ_ASSERT(!failed || !whole_);
    if (!failed) FUZZ_ASSERT(model.Verify().empty());
    (void)image_->Close();
    image_.reset();
    const auto report = CheckQcow2(*OpenFile());
    FUZZ_ASSERT(report && report->corruptions == 0);
  }

  FuzzInput input_;
  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{256 << 10};
  std::unique_ptr<BufferBelow> below_;
  std::unique_ptr<WritableImage> image_;
  bool sound_ = false;  // for our checker
  bool whole_ = false;  // nothing was overwritten
};

}  // namespace
}  // namespace chainfs

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chainfs::Session(chainfs::FuzzInput(data, size)).Run();
  return 0;
}
