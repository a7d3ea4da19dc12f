// SPDX-License-Identifier: Apache-2.0
//
// ChainOpener: from the name of a top image to its open layers, in two steps. Walk follows the
// headers from file to file and opens nothing for good: it finds out who is built on whom, even for
// chains that turn out to be unusable. Open then opens the layers in the roles that follow from it.
//
// Rules: formats come from the header, never from contents. Files come only from the permitted
// directories. A chain that contains itself, under whatever names, and one deeper than max_depth
// are refused. No recursion.
//
// One object serves one scan: it remembers what it saw, so that a thousand clones look at their
// common base once, and one bad base is tried once.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/catalog/layer_pool.h"
#include "blocklayer/catalog/roots.h"

namespace chainfs {

struct ChainRules {
  std::optional<ImageFormat> assume_backing_format;
  uint32_t max_depth = 1024;
  bool data_files = false;  // whether any are permitted
};

// A chain as the headers tell it, top to base, as far as it could be followed.
struct WalkedChain {
  std::vector<LayerFile> files;
  std::optional<Error> error;  // why it could not be followed to its base
  std::string missing;         // the path of the file that was not found, if that is why
  // Files that the headers name, that are not among `files`, because chainfs refuses to open them
  // or cannot: where the kernel would find them.
  std::vector<FileId> leads_to;
  std::vector<FileId> data_files;  // of the images, if such are permitted
  bool untold = false;             // what more there is could not be told just now

  // All that its top is built on, the nearest first.
  std::vector<FileId> Below() const;
};

// Appends what is not there yet.
void AddMissing(std::vector<FileId>& ids, const std::vector<FileId>& more);

class ChainOpener {
 public:
  // The references must outlive this.
  ChainOpener(Roots& roots, LayerPool& pool, ChainRules rules)
      : roots_(roots), pool_(pool), rules_(rules) {}

  // `extra` as for Roots::Find.
  WalkedChain Walk(const FileLocation& top, ImageFormat format,
                   std::span<const std::string> extra = {});
  // The same for a top that was looked at before.
  WalkedChain WalkFrom(LayerFile top, std::span<const std::string> extra = {});
  // What the headers of open layers, top to base, lead to by now, where that is not the next layer:
  // a file that was renamed over it, and what that is built on.
  // `untold` as in WalkedChain.
  std::vector<FileId> Replaced(const Layers& layers, std::span<const std::string> extra,
                               bool& untold);
  // Opens every layer of a chain that was walked to its base.
  Result<Layers> Open(const WalkedChain& chain,
                      const std::function<LayerRole(const FileId&)>& role_of);
  // The same, but first tests the locks without opening anything for writing. For trying again: a
  // file closed after writing wakes up whoever watches its directory, and that is us.
  Result<Layers> OpenIfUnlocked(const WalkedChain& chain,
                                const std::function<LayerRole(const FileId&)>& role_of);
  // The same for one that failed before: opens it for reading, and only if that goes well in its
  // roles.
  Result<Layers> OpenGently(const WalkedChain& chain,
                            const std::function<LayerRole(const FileId&)>& role_of);
  // What is at `location`, by a look that leaves it alone. `format`: also what its header says,
  // where that will be wanted.
  Result<FileStat> StatOf(const FileLocation& location, std::optional<ImageFormat> format);

 private:
  struct Inspected {
    Result<FileStat> stat;
    std::optional<Result<HeaderPeek>> peek;  // once somebody said that its format has one
  };
  Result<LayerFile> LayerFileAt(const FileLocation& location, ImageFormat format);
  FormatRow::Peek PeekOf(ImageFormat format) const;
  Inspected& Inspect(const FileLocation& location, FormatRow::Peek peek);
  // Where the names in the header lead.
  void AddNamed(const LayerFile& file, WalkedChain& chain);
  void AddDataFile(const LayerFile& file, WalkedChain& chain);
  // The next file down; nothing at the base.
  // `missing`: its path, when it is not there.
  Result<std::optional<LayerFile>> Below(const LayerFile& overlay,
                                         std::span<const std::string> extra, std::string& missing);

  Roots& roots_;
  LayerPool& pool_;
  const ChainRules rules_;
  std::map<std::string, Inspected> inspected_;  // by path
  std::map<FileId, Error> unusable_;            // layers that failed to open in this scan
};

// Makes one for each look.
struct ChainOpeners {
  // The references outlive every opener.
  Roots& roots;
  LayerPool& pool;
  ChainRules rules;

  ChainOpener New() const { return {roots, pool, rules}; }
};

}  // namespace chainfs
