//! Every limit of this crate in one place.

/// Largest ring that may be asked for (Envoy's limit of `maximum_ring_size`).
pub const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;
/// Smallest ring unless configured (Envoy's default of `minimum_ring_size`).
pub const DEFAULT_MIN_RING_SIZE: u64 = 1024;
/// Largest maglev table that may be asked for (Envoy's limit of `table_size`).
pub const MAX_MAGLEV_TABLE_SIZE: u64 = 5_000_011;
/// Size of a maglev table unless configured (Envoy's default).
pub const DEFAULT_MAGLEV_TABLE_SIZE: u64 = 65_537;
/// Entries of all rings and tables of one balancer together. An entry of a ring takes twelve bytes, one of a maglev
/// table four: at most 96 MiB a cluster, however many priorities and subsets it has.
pub const MAX_TABLE_ENTRIES: u64 = 8 * 1024 * 1024;
/// Subsets of one cluster. What is beyond is left out and counted.
pub const MAX_SUBSETS: usize = 16 * 1024;
/// Members of all subsets of one cluster together (a host counts in each subset that it is in).
pub const MAX_SUBSET_MEMBERS: usize = 1024 * 1024;
/// Combinations of labels of one host for one selector, when lists count as alternatives.
pub const MAX_COMBINATIONS: usize = 64;
/// How often fallbacks of subset selectors are followed for one request.
pub const MAX_FALLBACKS: usize = 8;
/// Hosts that least request compares for one request.
pub const MAX_CHOICES: u32 = 64;
/// Longest ejection, whatever the settings say.
pub const MAX_EJECTION: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
