use super::*;

/// What the script's end means.
fn outcome(script: &str) -> Result<(), ApplyError> {
    run("sh", &["-c", script], "the rules\n")
}

#[test]
fn a_program_that_ends_well_has_loaded_what_it_read() {
    assert!(outcome("test \"$(cat)\" = 'the rules'").is_ok());
    assert!(outcome("exit 0").is_ok(), "also when it reads nothing");
}

#[test]
fn a_program_that_fails_says_why() {
    let error = outcome("echo ' line 3: what is this? ' >&2; exit 1").unwrap_err();
    assert_eq!(error.to_string(), "`sh` refused the rules: line 3: what is this?");
}

#[test]
fn a_kernel_that_says_no_wants_privileges() {
    for text in ["netlink: Error: Operation not permitted", "Permission denied (you must be root)"] {
        let error = outcome(&format!("echo '{text}' >&2; exit 4")).unwrap_err();
        assert!(matches!(error, ApplyError::Privilege { program: "sh" }), "{error}");
    }
    let error = run("/etc/passwd", &[], "").unwrap_err();
    assert!(matches!(error, ApplyError::Privilege { .. }), "it may not be run: {error}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let error = run("portolan-no-such-program", &[], "").unwrap_err();
    assert!(matches!(error, ApplyError::Missing { program: "portolan-no-such-program", .. }), "{error}");
}

#[test]
fn a_program_that_cannot_be_run_for_another_reason() {
    let error = run("nul\0byte", &[], "").unwrap_err();
    assert!(matches!(error, ApplyError::Command(CommandError::Io { .. })), "{error}");
}
