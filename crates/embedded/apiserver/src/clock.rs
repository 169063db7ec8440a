//! The only place of this crate that reads the wall clock.

/// Seconds since the epoch.
pub(crate) fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Now, as `metav1.Time` is written.
pub(crate) fn text() -> String {
    portolan_apimachinery::time::format(seconds())
}
