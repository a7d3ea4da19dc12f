// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/data_files.h"

#include <fmt/format.h>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/record_directory.h"

namespace chainfs {

Status DataFiles::Permit(const std::string& directory) {
  CHAINFS_TRY(roots_.Add(directory, RootUse::kRead));
  any_ = true;
  return {};
}

Result<FileLocation> DataFiles::Locate(const FileLocation& image, const std::string& name) {
  const auto refuse = [&](ErrorKind kind, std::string_view why) {
    return Fail(kind, EscapeText(fmt::format("{}: its external data file \"{}\" {}", image.path,
                                             name, why)));
  };
  const std::string leaf = FileNameOf(name);
  if (leaf.empty() || leaf == "." || leaf == ".." || name.contains('\0')) {
    return refuse(ErrorKind::kInvalidArgument, "has no name of a file");
  }
  Result<Roots::Walked> walked = roots_.Walk(*image.directory, name);
  if (!walked) {
    return refuse(walked.error().kind, fmt::format("cannot be found: {}", walked.error().message));
  }
  if (walked->location) {
    if (!walked->location->path.contains(fmt::format("/{}/", kRecordDirectory))) {
      return *std::move(walked->location);
    }
    return refuse(ErrorKind::kAccess, "is a record of chainfs");
  }
  if (any_ && walked->missing) return refuse(ErrorKind::kNotFound, "does not exist");
  const std::string directory = DirectoryOf(walked->path);
  return refuse(ErrorKind::kAccess,
                directory == "/"
                    ? "lies in no permitted directory; move it into one, and name that with -o "
                      "data_dirs=DIR"
                    : fmt::format("lies in no permitted directory; to permit it, mount with -o "
                                  "data_dirs={}",
                                  directory));
}

}  // namespace chainfs
