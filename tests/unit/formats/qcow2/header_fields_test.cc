// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_fields.h"

#include <gtest/gtest.h>

#include <array>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

using Sector = std::array<std::byte, kHeaderSector>;

// A different value in every field.
HeaderFields Distinct(uint32_t version) {
  HeaderFields fields;
  fields.version = version;
  fields.backing_offset = 0x101;
  fields.backing_size = 0x102;
  fields.cluster_bits = 13;
  fields.size = 0x10300000000;
  fields.crypt_method = 0x104;
  fields.l1_entries = 0x105;
  fields.l1_offset = HostOffset(0x10600000000);
  fields.refcount_table_offset = HostOffset(0x10700000000);
  fields.refcount_table_clusters = 0x108;
  fields.snapshot_count = 0x109;
  fields.snapshots_offset = HostOffset(0x10a00000000);
  if (version < 3) return fields;
  fields.incompatible = 0x10b00000000;
  fields.compatible = 0x10c00000000;
  fields.autoclear = 0x10d00000000;
  fields.refcount_order = 5;
  fields.header_length = kHeaderBytesWritten;
  fields.compression_type = 7;
  return fields;
}

HeaderFields Decode(const Sector& sector) {
  return DecodeHeaderFields(std::span(sector).first<kHeaderBytesWritten>());
}

void ExpectSame(const HeaderFields& a, const HeaderFields& b) {
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.backing_offset, b.backing_offset);
  EXPECT_EQ(a.backing_size, b.backing_size);
  EXPECT_EQ(a.cluster_bits, b.cluster_bits);
  EXPECT_EQ(a.size, b.size);
  EXPECT_EQ(a.crypt_method, b.crypt_method);
  EXPECT_EQ(a.l1_entries, b.l1_entries);
  EXPECT_EQ(a.l1_offset, b.l1_offset);
  EXPECT_EQ(a.refcount_table_offset, b.refcount_table_offset);
  EXPECT_EQ(a.refcount_table_clusters, b.refcount_table_clusters);
  EXPECT_EQ(a.snapshot_count, b.snapshot_count);
  EXPECT_EQ(a.snapshots_offset, b.snapshots_offset);
  EXPECT_EQ(a.incompatible, b.incompatible);
  EXPECT_EQ(a.compatible, b.compatible);
  EXPECT_EQ(a.autoclear, b.autoclear);
  EXPECT_EQ(a.refcount_order, b.refcount_order);
  EXPECT_EQ(a.header_length, b.header_length);
  EXPECT_EQ(a.compression_type, b.compression_type);
}

TEST(HeaderFieldsTest, WhatIsWrittenIsRead) {
  for (const uint32_t version : {2u, 3u}) {
    Sector sector = {};
    EncodeHeaderFields(Distinct(version), sector);
    EXPECT_TRUE(HasQcow2Magic(sector));
    ExpectSame(Decode(sector), Distinct(version));
  }
}

TEST(HeaderFieldsTest, Version2EndsAfter72Bytes) {
  Sector sector;
  sector.fill(std::byte{0xee});
  EncodeHeaderFields(Distinct(2), sector);
  EXPECT_EQ(sector[kHeaderBytesV2], std::byte{0xee});
  ExpectSame(Decode(sector), Distinct(2));
}

TEST(HeaderFieldsTest, AShortHeaderHasNoCompressionType) {
  HeaderFields fields = Distinct(3);
  fields.header_length = kHeaderBytesV3;
  Sector sector;
  sector.fill(std::byte{0xee});
  EncodeHeaderFields(fields, sector);
  EXPECT_EQ(sector[kOffsetCompressionType], std::byte{0xee});
  EXPECT_EQ(Decode(sector).compression_type, kCompressionZlib);
}

TEST(HeaderFieldsTest, AChangeTouchesItsFieldsAlone) {
  HeaderFields fields = Distinct(3);
  Sector sector = {};
  EncodeHeaderFields(fields, sector);
  StoreBigEndian(sector.data() + 300, uint64_t{0x1234});

  PutVirtualSize(sector, fields.size = 0x201);
  PutL1Table(sector, fields.l1_offset = HostOffset(0x202), fields.l1_entries = 0x203);
  PutRefcountTable(sector, fields.refcount_table_offset = HostOffset(0x204),
                   fields.refcount_table_clusters = 0x205);
  PutBackingName(sector, fields.backing_offset = 0x206, fields.backing_size = 0x207);
  PutIncompatibleFeatures(sector, fields.incompatible = 0x208);
  PutAutoclearFeatures(sector, fields.autoclear = 0x209);
  ExpectSame(Decode(sector), fields);
  EXPECT_EQ(LoadBigEndian<uint64_t>(sector.data() + 300), 0x1234u);
}

}  // namespace
}  // namespace chainfs::qcow2
