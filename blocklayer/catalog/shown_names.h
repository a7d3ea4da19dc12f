// SPDX-License-Identifier: Apache-2.0
//
// ShownNames: which images of a source directory went by their short names (vm1 for vm1.qcow2) when
// it was mounted last, so that a file of the same stem that appears while nothing is mounted takes
// no name away. Kept by this host, outside the images: a mount leaves nothing beside them, and
// nobody else's files are believed. It decides nothing but a name; what cannot be kept or read does
// not count.
//
// One file for each source directory, named after its path: a line with the format and that path,
// then a line "INODE FILE" for each image.
//
// Threads: none of its own; its owner serializes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace chainfs {

class ShownNames {
 public:
  // File names of images, and their inode numbers: another file of that name is another image.
  using Images = std::map<std::string, uint64_t>;

  // `directory` is made when something is to be kept. Empty: nothing is.
  explicit ShownNames(std::string directory) : directory_(std::move(directory)) {}

  // What was kept last of the directory of that absolute path.
  Images Load(const std::string& source) const;
  // Replaces it; writes nothing when it is that already. Forgets what nobody has mounted for a
  // year.
  void Keep(const std::string& source, const Images& images);

 private:
  const std::string directory_;
  std::map<std::string, Images> kept_;  // by source, what its file says
};

}  // namespace chainfs
