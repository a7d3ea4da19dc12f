// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_fields.h"

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {

bool HasQcow2Magic(std::span<const std::byte> bytes) {
  return LoadBigEndian<uint32_t>(bytes.data() + kOffsetMagic) == kQcow2Magic;
}

HeaderFields DecodeHeaderFields(std::span<const std::byte, kHeaderBytesWritten> bytes) {
  const std::byte* p = bytes.data();
  HeaderFields fields;
  fields.version = LoadBigEndian<uint32_t>(p + kOffsetVersion);
  fields.backing_offset = LoadBigEndian<uint64_t>(p + kOffsetBackingOffset);
  fields.backing_size = LoadBigEndian<uint32_t>(p + kOffsetBackingSize);
  fields.cluster_bits = LoadBigEndian<uint32_t>(p + kOffsetClusterBits);
  fields.size = LoadBigEndian<uint64_t>(p + kOffsetSize);
  fields.crypt_method = LoadBigEndian<uint32_t>(p + kOffsetCryptMethod);
  fields.l1_entries = LoadBigEndian<uint32_t>(p + kOffsetL1Size);
  fields.l1_offset = HostOffset(LoadBigEndian<uint64_t>(p + kOffsetL1Table));
  fields.refcount_table_offset = HostOffset(LoadBigEndian<uint64_t>(p + kOffsetRefcountTable));
  fields.refcount_table_clusters = LoadBigEndian<uint32_t>(p + kOffsetRefcountTableClusters);
  fields.snapshot_count = LoadBigEndian<uint32_t>(p + kOffsetSnapshotCount);
  fields.snapshots_offset = HostOffset(LoadBigEndian<uint64_t>(p + kOffsetSnapshots));
  if (fields.version < 3) return fields;

  fields.incompatible = LoadBigEndian<uint64_t>(p + kOffsetIncompatible);
  fields.compatible = LoadBigEndian<uint64_t>(p + kOffsetCompatible);
  fields.autoclear = LoadBigEndian<uint64_t>(p + kOffsetAutoclear);
  fields.refcount_order = LoadBigEndian<uint32_t>(p + kOffsetRefcountOrder);
  fields.header_length = LoadBigEndian<uint32_t>(p + kOffsetHeaderLength);
  if (fields.header_length > kHeaderBytesV3) {
    fields.compression_type = static_cast<uint8_t>(p[kOffsetCompressionType]);
  }
  return fields;
}

void EncodeHeaderFields(const HeaderFields& fields, std::span<std::byte> bytes) {
  std::byte* p = bytes.data();
  StoreBigEndian(p + kOffsetMagic, kQcow2Magic);
  StoreBigEndian(p + kOffsetVersion, fields.version);
  StoreBigEndian(p + kOffsetBackingOffset, fields.backing_offset);
  StoreBigEndian(p + kOffsetBackingSize, fields.backing_size);
  StoreBigEndian(p + kOffsetClusterBits, fields.cluster_bits);
  StoreBigEndian(p + kOffsetSize, fields.size);
  StoreBigEndian(p + kOffsetCryptMethod, fields.crypt_method);
  StoreBigEndian(p + kOffsetL1Size, fields.l1_entries);
  StoreBigEndian(p + kOffsetL1Table, fields.l1_offset.value);
  StoreBigEndian(p + kOffsetRefcountTable, fields.refcount_table_offset.value);
  StoreBigEndian(p + kOffsetRefcountTableClusters, fields.refcount_table_clusters);
  StoreBigEndian(p + kOffsetSnapshotCount, fields.snapshot_count);
  StoreBigEndian(p + kOffsetSnapshots, fields.snapshots_offset.value);
  if (fields.version < 3) return;

  StoreBigEndian(p + kOffsetIncompatible, fields.incompatible);
  StoreBigEndian(p + kOffsetCompatible, fields.compatible);
  StoreBigEndian(p + kOffsetAutoclear, fields.autoclear);
  StoreBigEndian(p + kOffsetRefcountOrder, fields.refcount_order);
  StoreBigEndian(p + kOffsetHeaderLength, fields.header_length);
  if (fields.header_length > kHeaderBytesV3) {
    p[kOffsetCompressionType] = std::byte{fields.compression_type};
  }
}

void PutVirtualSize(HeaderSector header, uint64_t size) {
  StoreBigEndian(header.data() + kOffsetSize, size);
}

void PutL1Table(HeaderSector header, HostOffset offset, uint32_t entries) {
  StoreBigEndian(header.data() + kOffsetL1Size, entries);
  StoreBigEndian(header.data() + kOffsetL1Table, offset.value);
}

void PutRefcountTable(HeaderSector header, HostOffset offset, uint32_t clusters) {
  StoreBigEndian(header.data() + kOffsetRefcountTable, offset.value);
  StoreBigEndian(header.data() + kOffsetRefcountTableClusters, clusters);
}

void PutBackingName(HeaderSector header, uint64_t offset, uint32_t size) {
  StoreBigEndian(header.data() + kOffsetBackingOffset, offset);
  StoreBigEndian(header.data() + kOffsetBackingSize, size);
}

void PutIncompatibleFeatures(HeaderSector header, uint64_t bits) {
  StoreBigEndian(header.data() + kOffsetIncompatible, bits);
}

void PutCompatibleFeatures(HeaderSector header, uint64_t bits) {
  StoreBigEndian(header.data() + kOffsetCompatible, bits);
}

void PutAutoclearFeatures(HeaderSector header, uint64_t bits) {
  StoreBigEndian(header.data() + kOffsetAutoclear, bits);
}

}  // namespace chainfs::qcow2
