//! Response flags (`%RESPONSE_FLAGS%`).

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($name:ident = $bit:literal $text:literal,)*) => {
        impl Flags {
            $(#[doc = "See Envoy's `%RESPONSE_FLAGS%`."] pub const $name: Flags = Flags(1 << $bit);)*
            /// Every flag with its text, in the order in which they are written: always the same, as in the Envoy of
            /// Istio 1.9 (`UF,URX` on dashboards); later ones write them as they were found out.
            const ALL: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text),)*];
        }
    };
}

flags! {
    LOCAL_HEALTH_CHECK = 0 "LH",
    NO_HEALTHY_UPSTREAM = 1 "UH",
    UPSTREAM_REQUEST_TIMEOUT = 2 "UT",
    LOCAL_RESET = 3 "LR",
    UPSTREAM_REMOTE_RESET = 4 "UR",
    UPSTREAM_CONNECTION_FAILURE = 5 "UF",
    UPSTREAM_CONNECTION_TERMINATION = 6 "UC",
    UPSTREAM_OVERFLOW = 7 "UO",
    NO_ROUTE = 8 "NR",
    DELAY_INJECTED = 9 "DI",
    FAULT_INJECTED = 10 "FI",
    RATE_LIMITED = 11 "RL",
    UNAUTHORIZED_EXTERNAL = 12 "UAEX",
    DOWNSTREAM_CONNECTION_TERMINATION = 13 "DC",
    UPSTREAM_RETRY_LIMIT = 14 "URX",
    STREAM_IDLE_TIMEOUT = 15 "SI",
    DOWNSTREAM_PROTOCOL_ERROR = 16 "DPE",
    UPSTREAM_MAX_STREAM_DURATION = 17 "UMSDR",
    NO_FILTER_CONFIG = 18 "NFCF",
    UPSTREAM_PROTOCOL_ERROR = 19 "UPE",
    NO_CLUSTER = 20 "NC",
    DURATION_TIMEOUT = 21 "DT",
}

impl Flags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    /// The others.
    pub fn without(self, flag: Flags) -> Flags {
        Flags(self.0 & !flag.0)
    }

    /// Whether it has one of these flags.
    pub fn contains(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Comma separated, "-" when empty.
    pub fn text(self) -> String {
        let mut out = String::new();
        for (flag, text) in Self::ALL {
            if self.contains(*flag) {
                if !out.is_empty() {
                    out.push(',');
                }
                out.push_str(text);
            }
        }
        if out.is_empty() { "-".to_owned() } else { out }
    }

    /// The flag of a text, for log filters.
    pub fn parse(text: &str) -> Option<Flags> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(flag, _)| *flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_is_a_dash() {
        assert_eq!(Flags::default().text(), "-");
    }

    #[test]
    fn a_set_is_empty_until_a_flag_is_added() {
        let mut flags = Flags::default();
        assert!(flags.is_empty());
        flags.insert(Flags::NO_ROUTE);
        assert!(!flags.is_empty());
        assert_eq!(flags.without(Flags::NO_CLUSTER), flags);
        assert!(flags.without(Flags::NO_ROUTE).is_empty());
    }

    #[test]
    fn flags_are_written_in_one_order() {
        let mut flags = Flags::UPSTREAM_RETRY_LIMIT;
        flags.insert(Flags::UPSTREAM_CONNECTION_FAILURE);
        assert_eq!(flags.text(), "UF,URX");
    }

    #[test]
    fn every_flag_is_read_as_it_is_written() {
        for (flag, text) in Flags::ALL {
            assert_eq!(flag.text(), *text);
            assert_eq!(Flags::parse(text), Some(*flag));
        }
        assert_eq!(Flags::parse("XX"), None);
    }

    #[test]
    fn each_flag_has_a_bit_of_its_own() {
        let mut all = Flags::default();
        for (flag, text) in Flags::ALL {
            assert!(!all.contains(*flag), "{text}");
            all.insert(*flag);
        }
    }
}
