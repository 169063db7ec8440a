//! A list that one thread appends to and all others read, without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Items that are allocated together.
const CHUNK: usize = 64;

/// Items are only ever added, up to the capacity.
#[derive(Debug)]
pub(crate) struct Published<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
    /// Written by the one thread that appends.
    len: AtomicUsize,
}

type Chunk<T> = Box<[OnceLock<T>]>;

impl<T> Published<T> {
    /// Holds `capacity` items, rounded up; memory is taken as they come.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let chunks = (0..capacity.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Published { chunks, len: AtomicUsize::new(0) }
    }

    /// Appends; for one thread only. False when it is full.
    pub(crate) fn push(&self, item: T) -> bool {
        let at = self.len.load(Relaxed);
        let Some(chunk) = self.chunks.get(at / CHUNK) else { return false };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        self.len.store(at + 1, Relaxed);
        chunk.get(at % CHUNK).is_some_and(|slot| slot.set(item).is_ok())
    }

    /// What was appended so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let chunks = self.chunks.iter().map_while(OnceLock::get);
        chunks.flat_map(|chunk| chunk.iter().map_while(OnceLock::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order() {
        let list = Published::with_capacity(3 * CHUNK);
        (0..2 * CHUNK + 1).for_each(|item| assert!(list.push(item)));
        assert!(list.iter().copied().eq(0..2 * CHUNK + 1));
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let list = Published::with_capacity(1);
        (0..CHUNK).for_each(|item| assert!(list.push(item)));
        assert!(!list.push(CHUNK));
        assert_eq!(list.iter().count(), CHUNK);
    }

    #[test]
    fn a_reader_sees_what_the_writer_appended() {
        let list = Published::with_capacity(1000);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..1000).for_each(|item| assert!(list.push(item))));
            while list.iter().count() < 1000 {
                // What is seen is always a beginning of what is there.
                assert!(list.iter().copied().enumerate().all(|(at, item)| at == item));
                std::hint::spin_loop();
            }
            writer.join().unwrap();
        });
    }
}
