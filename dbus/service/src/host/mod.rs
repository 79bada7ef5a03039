//! The host's network: links, addresses, routes, rules, sysctls, nftables, each change with its undo.
