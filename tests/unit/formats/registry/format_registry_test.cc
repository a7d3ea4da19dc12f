// SPDX-License-Identifier: Apache-2.0
//
// The registry, and what a new format takes: one row. The toy format below is read as the base of a
// chain, from the overlay's header to the flat disk, and is known nowhere else.
#include "blocklayer/formats/registry/format_registry.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "blocklayer/base/endian.h"
#include "blocklayer/catalog/chain_opener.h"
#include "blocklayer/chain/disk.h"
#include "blocklayer/formats/qcow2/create.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

// A toy image is its magic word, the size of a disk (eight bytes, big-endian) and one byte; the
// first half of the disk is full of that byte, the other half reads as zeros.
constexpr std::string_view kToyMagic = "TOYIMAGE";
constexpr ImageFormat kToy("toy");
constexpr uint32_t kToyCluster = 65536;

class ToyImage final : public Image {
 public:
  ToyImage(std::unique_ptr<File> file, uint64_t size, std::byte fill)
      : file_(std::move(file)), size_(size), fill_(fill) {}

  ImageFormat format() const override { return kToy; }
  File& file() override { return *file_; }
  uint64_t virtual_size() const override { return size_; }
  uint32_t cluster_size() const override { return kToyCluster; }
  std::optional<BackingReference> backing() const override { return std::nullopt; }
  Result<uint64_t> AllocatedBytes() override { return file_->Size(); }
  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) override {
    const uint64_t half = size_ / 2;
    if (offset.value >= half) return Extent{.kind = ExtentKind::kZero, .length = length};
    length = std::min({length, half - offset.value, kToyCluster - offset.Within(kToyCluster)});
    return Extent{.kind = ExtentKind::kCompressed,
                  .length = length,
                  .host = HostOffset(offset.AlignDown(kToyCluster).value)};
  }
  Status ReadCompressed(const Extent& /*extent*/, std::span<std::byte> out) override {
    std::ranges::fill(out, fill_);
    return {};
  }

 private:
  const std::unique_ptr<File> file_;
  const uint64_t size_;
  const std::byte fill_;
};

Result<std::unique_ptr<Image>> OpenToy(std::unique_ptr<File> file, MetadataCache& /*cache*/,
                                       const ImageOpenOptions& /*options*/) {
  std::array<std::byte, 17> header = {};
  CHAINFS_TRY(file->ReadZeroFilled(HostOffset(0), header));
  if (std::memcmp(header.data(), kToyMagic.data(), kToyMagic.size()) != 0) {
    return Fail(ErrorKind::kInvalidFormat, file->path() + ": not a toy image");
  }
  const auto size = LoadBigEndian<uint64_t>(&header[8]);
  return std::make_unique<ToyImage>(std::move(file), size, header[16]);
}

FormatRegistry WithToy() {
  const auto built_in = FormatRegistry::BuiltIn().rows();
  std::vector<FormatRow> rows(built_in.begin(), built_in.end());
  rows.push_back({.format = kToy,
                  .extensions = {".toy"},
                  .peek = nullptr,
                  .begins_like = nullptr,
                  .open = OpenToy,
                  .create = nullptr,
                  .repair = nullptr});
  return FormatRegistry(std::move(rows));
}

TEST(FormatRegistry, KnowsFormatsByNameAndByExtension) {
  const FormatRegistry& formats = FormatRegistry::BuiltIn();
  EXPECT_EQ(formats.Names(), "qcow2, raw, vdi, vhdx, vmdk and vpc");
  EXPECT_EQ(formats.ExtensionOf("vm.img"), ".img");
  EXPECT_EQ(formats.ExtensionOf("vm.qcow2"), ".qcow2");
  EXPECT_EQ(formats.ExtensionOf(".img"), "") << "that is all of the name";
  EXPECT_EQ(formats.ExtensionOf("vm.qed"), "");
  EXPECT_EQ(formats.FindByExtension(".img")->format, ImageFormat::kRaw);
  EXPECT_EQ(formats.FindByExtension(""), nullptr);
  EXPECT_EQ(formats.Find(kToy), nullptr);
  EXPECT_EQ(ParseImageFormat("qcow2"), ImageFormat::kQcow2);
  EXPECT_FALSE(ParseImageFormat("QCOW2"));
  EXPECT_EQ(WithToy().Names(), "qcow2, raw, vdi, vhdx, vmdk, vpc and toy");
}

TEST(FormatRegistry, CreatesOverlaysOfTheFormatsThatHaveThem) {
  const FormatRegistry& formats = FormatRegistry::BuiltIn();
  const FormatRow& raw = *formats.Find(ImageFormat::kRaw);
  const FormatRow& qcow2 = *formats.Find(ImageFormat::kQcow2);
  TempDir dir;
  Roots roots(nullptr);
  ASSERT_TRUE(roots.Add(dir.path(), RootUse::kCreate));
  const FileLocation top = roots.Find(dir / "top.qcow2").value();
  ASSERT_TRUE(qcow2.create(*top.directory, top.name,
                           {.virtual_size = 3 << 20,
                            .cluster_bits = 14,
                            .lazy_refcounts = true,
                            .subclusters = true,
                            .compression = ImageCompression::kZstd,
                            .backing = BackingReference{.name = "base.raw", .format = "raw"},
                            .permissions = 0600}));
  std::unique_ptr<File> file = top.directory->Open(top.name, OpenMode::kReadOnly).value();
  EXPECT_EQ(file->StatAccess().value().permissions & 0777, 0600U);
  MetadataCache cache(1 << 20);
  const auto image =
      qcow2.open(std::move(file), cache, {.read_only = true, .owner = cache.NewOwner()});
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ((*image)->virtual_size(), 3U << 20);
  EXPECT_EQ((*image)->cluster_size(), 16384U);
  EXPECT_TRUE((*image)->has_subclusters());
  EXPECT_EQ((*image)->compression(), ImageCompression::kZstd);
  EXPECT_EQ((*image)->backing()->name, "base.raw");
  EXPECT_EQ(qcow2.create(*top.directory, top.name, {.virtual_size = 512}).error().kind,
            ErrorKind::kExists);
  EXPECT_EQ(raw.create(*top.directory, "top.raw",
                       {.virtual_size = 512,
                        .backing = BackingReference{.name = "base.raw", .format = "raw"}})
                .error()
                .kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(raw.create(*top.directory, "top.raw",
                       {.virtual_size = 512, .compression = ImageCompression::kZlib})
                .error()
                .kind,
            ErrorKind::kInvalidArgument);
  ASSERT_TRUE(raw.create(*top.directory, "top.raw", {.virtual_size = 512, .permissions = 0600}));
  EXPECT_EQ(top.directory->StatAt("top.raw")->size, 512U);
}

class ToyFormatTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 8 << 20;

  ToyFormatTest() { EXPECT_TRUE(roots_.Add(dir_.path(), RootUse::kCreate)); }

  void MakeToy(const std::string& name, char fill) {
    std::array<std::byte, 8> size = {};
    StoreBigEndian(size.data(), kSize);
    std::string text(kToyMagic);
    text.append(reinterpret_cast<const char*>(size.data()), size.size());
    WriteTextFile(dir_ / name, text + fill);
  }
  FileLocation At(const std::string& name) { return roots_.Find(dir_ / name).value(); }

  TempDir dir_;
  Roots roots_{nullptr};
  const FormatRegistry formats_ = WithToy();
  std::shared_ptr<BlockContext> context_ = std::make_shared<BlockContext>(MemoryLimits());
  LayerPool pool_{context_, false, nullptr, formats_};
  ChainOpener opener_{roots_, pool_, {.assume_backing_format = {}, .max_depth = 8}};
};

TEST_F(ToyFormatTest, IsReadThroughAnOverlayThatIsWritten) {
  MakeToy("base.toy", 'x');
  const FileLocation top = At("top.qcow2");
  ASSERT_TRUE(CreateQcow2(
      *top.directory, top.name,
      {.virtual_size = kSize, .backing = BackingReference{.name = "base.toy", .format = "toy"}}));
  const WalkedChain walked = opener_.Walk(top, ImageFormat::kQcow2);
  ASSERT_FALSE(walked.error) << walked.error->message;
  const FileId active = walked.files.front().stat.id;
  const Result<Layers> layers = opener_.Open(walked, [&](const FileId& id) {
    return id == active ? LayerRole::kActive : LayerRole::kBacking;
  });
  ASSERT_TRUE(layers) << layers.error().message;
  auto disk = Disk::Open("vm", *layers, *context_).value();
  ASSERT_TRUE(disk->AllowWriting());

  std::vector<std::byte> expected(kSize);
  std::fill_n(expected.begin(), kSize / 2, std::byte{'x'});
  const std::vector<std::byte> written(5000, std::byte{'w'});
  for (const uint64_t at : {uint64_t{70000}, kSize / 2 - 1000}) {
    ASSERT_TRUE(disk->Write(GuestOffset(at), written));
    std::ranges::copy(written, expected.begin() + static_cast<int64_t>(at));
  }
  std::vector<std::byte> shown(kSize);
  ASSERT_EQ(disk->Read(GuestOffset(0), shown).value(), kSize);
  EXPECT_TRUE(shown == expected);
}

TEST_F(ToyFormatTest, IsOnlyRead) {
  MakeToy("vm.toy", 'y');
  const WalkedChain walked = opener_.Walk(At("vm.toy"), kToy);
  const Result<Layers> layers =
      opener_.Open(walked, [](const FileId&) { return LayerRole::kActive; });
  ASSERT_TRUE(layers) << layers.error().message;
  EXPECT_EQ(pool_.RoleOf(layers->front()), LayerRole::kBacking);
  EXPECT_EQ(layers->front()->image->writer(), nullptr);
  const auto disk = Disk::Open("vm", *layers, *context_).value();
  EXPECT_TRUE(disk->AllowWriting());
  EXPECT_TRUE(disk->read_only());
  EXPECT_EQ(disk->ReadOnlyReason(), "chainfs only reads this format");
  EXPECT_EQ(disk->Write(GuestOffset(0), std::vector<std::byte>(512)).error().kind,
            ErrorKind::kReadOnly);
  EXPECT_TRUE(disk->Flush());
  EXPECT_FALSE(disk->NeedsFlush());
}

TEST_F(ToyFormatTest, AFormatThatNobodyKnowsIsRefusedWithThoseThatAreKnown) {
  MakeToy("base.toy", 'x');
  const FileLocation top = At("top.qcow2");
  ASSERT_TRUE(CreateQcow2(
      *top.directory, top.name,
      {.virtual_size = kSize, .backing = BackingReference{.name = "base.toy", .format = "qed"}}));
  const WalkedChain walked = opener_.Walk(top, ImageFormat::kQcow2);
  ASSERT_TRUE(walked.error);
  EXPECT_EQ(walked.error->kind, ErrorKind::kUnsupported);
  EXPECT_NE(walked.error->message.find("chainfs knows qcow2, raw, vdi, vhdx, vmdk, vpc and toy"),
            std::string::npos)
      << walked.error->message;
}

}  // namespace
}  // namespace chainfs
