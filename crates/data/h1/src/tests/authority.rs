use super::*;

#[test]
fn authorities_are_a_host_and_perhaps_a_port() {
    let longest = "a".repeat(262);
    for good in [
        "a",
        "A-1._~",
        "!$&'()*+,;=",
        "a.b:1",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "192.0.2.1:80",
        "[::1]",
        "[::1]:80",
        "[2001:db8::192.0.2.1]:",
        &longest,
    ] {
        assert!(is_valid_authority(good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        ":80",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a%41",
        "a\\b",
        "a\"b",
        "a<b",
        "a[b",
        "a^b",
        "\u{e9}",
        "\x7f",
        "a:65536",
        "a:000080",
        "a:8a",
        "a:-1",
        "a:80:80",
        "[::1",
        "::1",
        "[]",
        "[x]",
        "[192.0.2.1]",
        "[::1]80",
        "[::1]x:80",
        "[::1%25eth0]",
        "]",
        &format!("{longest}a"),
    ] {
        assert!(!is_valid_authority(bad.as_bytes()), "{bad}");
    }
    assert!(!is_valid_authority(b"[\xff]"));
}
