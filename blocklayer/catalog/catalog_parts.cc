// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/catalog_parts.h"

#include <utility>

namespace chainfs {
namespace {

ChainOpeners OpenersOf(Roots& roots, LayerPool& pool, const CatalogOptions& options) {
  return {.roots = roots,
          .pool = pool,
          .rules = {.assume_backing_format = options.assume_backing_format,
                    .max_depth = options.max_depth,
                    .data_files = !options.data_dirs.empty()}};
}

}  // namespace

CatalogParts::CatalogParts(CatalogOptions given, ShownLists& lists, std::function<void()> repaired)
    : options(std::move(given)),
      context(std::make_shared<BlockContext>(options.memory)),
      repairs(std::move(repaired)),
      pauses(mu),
      roots(options.open_directory,
            {.anywhere = options.targets_anywhere, .directories = options.target_dirs}),
      data_files(options.open_directory),
      pool(context, options.read_only, &repairs, FormatRegistry::BuiltIn(), &data_files),
      sources(roots, options.state_directory),
      records(sources, options.read_only),
      leases(mu, pool),
      chains(events),
      hidden(sources, chains, pauses, OpenersOf(roots, pool, options)),
      marks(roots, sources, options.read_only),
      spoilt(marks),
      roles(chains, hidden, marks, pool, events, options.read_only),
      snapshot_disks(context, events),
      publisher(chains, snapshot_disks, hidden, records, events, lists, options.read_only),
      matcher(roots, sources, chains, marks),
      opener(context, pool, repairs, marks, lists, events, options.read_only),
      dropped(roots, marks),
      recovery(roots, sources, chains, dropped, *context, pool.formats()),
      scanner({.pauses = pauses,
               .roots = roots,
               .pool = pool,
               .sources = sources,
               .records = records,
               .repairs = repairs,
               .wake_up = context->wake_up(),
               .chains = chains,
               .hidden = hidden,
               .marks = marks,
               .roles = roles,
               .matcher = matcher,
               .opener = opener,
               .recovery = recovery,
               .publisher = publisher},
              OpenersOf(roots, pool, options), options.read_only),
      chain_records(sources, chains),
      names(roots, OpenersOf(roots, pool, options)),
      target(roots, sources, chains, hidden),
      new_images(mu, chains, target, names, marks),
      user_files(mu, chains, roots, target),
      snapshot_steps(roots, sources, pool, chains, chain_records, names, target, publisher,
                     options.read_only),
      snapshotter(snapshot_steps, chains, chain_records, scanner, events),
      group_snapshotter(sources, records, snapshot_steps, chain_records, scanner, events),
      needs(roots, sources, records, chains, hidden, marks),
      removal(roots, chain_records, needs, marks, hidden, pauses, scanner),
      reverter(roots, sources, pool, chains, chain_records, hidden, marks, needs, roles, dropped,
               scanner, events),
      mover(roots, sources, pool, chains, chain_records, hidden, needs, dropped, scanner, events,
            options.read_only),
      targets(roots, pool, chains, marks, needs, target, names, scanner,
              OpenersOf(roots, pool, options), options.read_only) {}

}  // namespace chainfs
