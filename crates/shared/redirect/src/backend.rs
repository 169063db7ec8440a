//! The two ways into the kernel.

/// How rules are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Backend {
    /// `nft` where it is installed, otherwise iptables.
    #[default]
    Auto,
    /// Native nftables.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`.
    Iptables,
}
