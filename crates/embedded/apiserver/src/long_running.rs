//! How many watches and log streams are open, altogether and by user: one user must not have all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_apimachinery::ApiStatus;

/// The open watches and log streams of a server.
#[derive(Clone)]
pub(crate) struct LongRunning(Arc<Mutex<Open>>);

struct Open {
    limit: usize,
    limit_per_user: usize,
    total: usize,
    by_user: HashMap<String, usize>,
}

/// One open stream; dropped with it.
pub(crate) struct LongRunningPermit {
    of: LongRunning,
    user: String,
}

impl LongRunning {
    pub(crate) fn new(limit: usize, limit_per_user: usize) -> LongRunning {
        LongRunning(Arc::new(Mutex::new(Open { limit, limit_per_user, total: 0, by_user: HashMap::new() })))
    }

    /// Room for one more stream of `user`.
    ///
    /// # Errors
    /// 429, which says whose limit is reached.
    pub(crate) fn take(&self, user: &str) -> Result<LongRunningPermit, ApiStatus> {
        let mut open = self.0.lock();
        let own = open.by_user.get(user).copied().unwrap_or(0);
        if own >= open.limit_per_user {
            let why = format!(
                "user {user:?} has {own} watches and log streams open, as many as one user may: close some"
            );
            return Err(ApiStatus::too_many_requests(why, 1));
        }
        if open.total >= open.limit {
            let why = "too many watches and log streams are open, please try again later";
            return Err(ApiStatus::too_many_requests(why, 1));
        }
        open.total += 1;
        open.by_user.insert(user.to_owned(), own + 1);
        Ok(LongRunningPermit { of: self.clone(), user: user.to_owned() })
    }
}

impl Drop for LongRunningPermit {
    fn drop(&mut self) {
        let mut open = self.of.0.lock();
        open.total = open.total.saturating_sub(1);
        if let Entry::Occupied(mut own) = open.by_user.entry(std::mem::take(&mut self.user)) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_others() {
        let open = LongRunning::new(3, 2);
        let held: Vec<_> = (0..2).map(|_| open.take("a").unwrap()).collect();
        let refused = open.take("a").err().unwrap();
        assert_eq!(refused.code, 429);
        assert!(refused.message.contains("\"a\" has 2"), "{refused}");
        let other = open.take("b").unwrap();
        assert_eq!(open.take("c").err().unwrap().code, 429);
        drop(held);
        assert!(open.take("a").is_ok());
        drop(other);
        assert!(open.0.lock().by_user.is_empty());
    }
}
