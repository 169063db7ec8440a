//! Addresses of Pods, given out in turn so that an address is not used again soon.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use parking_lot::Mutex;

use crate::plan::Plan;

/// Free and used addresses of the Pod network.
pub(crate) struct AddressPool {
    plan: Plan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: BTreeSet<Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl AddressPool {
    pub(crate) fn new(plan: Plan) -> AddressPool {
        AddressPool { plan, state: Mutex::default() }
    }

    /// The next free address; `None` when all are used.
    pub(crate) fn take(&self) -> Option<Ipv4Addr> {
        let mut state = self.state.lock();
        let last = state.last;
        let free = |a: &Ipv4Addr| !state.used.contains(a);
        let after = self.plan.pod_addresses().skip_while(|a| last.is_some_and(|l| *a <= l)).find(free);
        let address = after.or_else(|| self.plan.pod_addresses().find(free))?;
        state.used.insert(address);
        state.last = Some(address);
        Some(address)
    }

    pub(crate) fn give_back(&self, address: Ipv4Addr) {
        self.state.lock().used.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_turn() {
        let pool = AddressPool::new(Plan::new("c", 0).unwrap());
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_eq!((first.to_string(), second.to_string()), ("10.64.0.2".into(), "10.64.0.3".into()));
        pool.give_back(first);
        assert_eq!(pool.take().unwrap().to_string(), "10.64.0.4");
        pool.state.lock().last = pool.plan.pod_addresses().last();
        assert_eq!(pool.take(), Some(first), "begins again");
    }
}
