//! The hash functions of consistent hashing, bit for bit those of Envoy.

use twox_hash::XxHash64;

/// XXH64 with seed 0: hash policies and rings.
pub fn xx_hash(bytes: &[u8]) -> u64 {
    xx_hash_seeded(bytes, 0)
}

/// XXH64.
pub fn xx_hash_seeded(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// MurmurHash64A with the seed that the C++ standard library of GNU uses for `std::hash`: Envoy's `MURMUR_HASH_2`.
/// The function is in the public domain (Austin Appleby); this is written after its definition.
pub fn murmur_hash_2(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xc70f_6907;
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0u8; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> R)).wrapping_mul(M);
    hash ^ (hash >> R)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Envoy's documented rings (see the tests of `ring`), reduced to one entry each.
    #[test]
    fn known_values() {
        assert_eq!(xx_hash(b"127.0.0.1:94_0").min(xx_hash(b"127.0.0.1:94_1")), 833_437_586_790_550_860);
        let murmur = murmur_hash_2(b"127.0.0.1:85_0").min(murmur_hash_2(b"127.0.0.1:85_1"));
        assert_eq!(murmur, 1_358_027_074_129_602_068);
    }
}
