//! Read boundaries.

/// Each byte in a read of its own.
pub fn single_bytes(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}

/// Reads of random length, most of them short. The same seed gives the same reads.
pub fn random(input: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed | 1;
    let mut rest = input;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let longest = if state & 0x300 == 0 { 64 } else { 6 };
        let (piece, left) = rest.split_at((state as usize % longest + 1).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

/// A seed for inputs that bring none (FNV-1a).
pub fn seed_of(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The pieces as a person can read them.
pub fn show(pieces: &[&[u8]]) -> String {
    pieces.iter().map(|piece| piece.escape_ascii().to_string()).collect::<Vec<_>>().join("|")
}
