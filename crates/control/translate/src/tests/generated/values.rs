//! What people write into fields, and what they had better not.

use serde_json::{Value, json};

/// Random numbers that are the same for the same seed.
pub(super) struct Chance(fastrand::Rng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn percent(&mut self, odds: usize) -> bool {
        self.below(100) < odds
    }

    pub(super) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Where a value goes: the kind, and the fields above it.
pub(super) struct Place {
    names: Vec<String>,
}

/// Files that are there.
pub(super) const AUTHORITIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/root.pem");

/// Files that are not.
pub(super) const NO_FILES: &[&str] = &["/no/such/file.pem", "relative.pem"];

const HOSTS: &[&str] = &[
    "a",
    "a.shop",
    "a.shop.svc.cluster.local",
    "b.bank.svc.cluster.local",
    "h.shop.svc.cluster.local",
    "outside.example",
    "www.outside.example",
    "*.outside.example",
    "no.such.host",
    "tcp.shop.svc.cluster.local",
];
const ODD_HOSTS: &[&str] = &[
    "*",
    "*.*",
    "*.local",
    "A.Shop",
    "a_b.test",
    "10.1.2.3",
    "::1",
    "a.test:80",
    "test.*",
    "-a.test",
    "a..b",
    "a b",
    "xn--bcher-kva.example",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
    "*a.test",
    "../a",
    "e\u{301}.test",
    "%",
    "localhost",
];
const REGULAR_EXPRESSIONS: &[&str] = &[
    "/.*",
    "/a/(b|c)",
    "a.*",
    "^/x$",
    "(?i)abc",
    r"\d{2,}",
    "*",
    "(",
    "(?x)a # b",
    "a**",
    r"/\Qa.b\E",
    r"\101",
    "/b{",
    "a{1001}",
    "a{1000}{1000}",
    r"\C",
    "[[:alpha:]]",
    "(?P<n>x)",
    r"\p{Greek}",
    "[a",
    r"(a)\1",
    "",
    "é",
    r"\x{10FFFF}",
    "(?s).",
    r"\pN",
    r"\Q",
];
const TEXTS: &[&str] = &["/", "/a", "/a/b", "abc", "v1", "GET", "x-test", "80", "a=b"];
const ODD_TEXTS: &[&str] = &[
    "",
    " ",
    "a b",
    "100%",
    "%NO_SUCH%",
    "%REQ(x",
    "%REQ(:path)%",
    "%START_TIME(%s)%",
    "a\nb",
    "a\r\nb: c",
    "a\u{0}b",
    "é",
    "*",
    "**",
    "a*",
    "*a",
    "a*b",
    "/a/../b",
    "/a?b=c",
    "/a#b",
    "a(b",
    r"\",
    "\"",
    "%%",
    "http://a/b",
    "\u{7f}",
];
const HEADERS: &[&str] = &["x-a", "x-test", "user-agent", "cookie", "end-user"];
const ODD_HEADERS: &[&str] = &[
    "Host",
    "host",
    ":authority",
    ":path",
    ":method",
    ":status",
    ":scheme",
    ":protocol",
    "a b",
    "a:b",
    "",
    "é",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "upgrade",
    "X-UPPER",
    "x_under",
    "x-envoy-attempt-count",
    "x-forwarded-for",
    "x-forwarded-client-cert",
    "%",
    "a\n",
];
const DURATIONS: &[&str] = &["1s", "250ms", "10s", "1m", "1h30m", "0.5s"];
const ODD_DURATIONS: &[&str] =
    &["0s", "-1s", "1ns", "1us", "9999999h", "315576000000s", "1", "", "1d", "1.0000000001s"];
const ADDRESSES: &[&str] = &["10.0.0.0/8", "10.96.0.77", "192.168.1.1", "127.0.0.1"];
const ODD_ADDRESSES: &[&str] = &[
    "0.0.0.0",
    "0.0.0.0/0",
    "::1",
    "2001:db8::/32",
    "10.0.0.1/8",
    "10.0.0.0/40",
    "256.1.1.1",
    "a",
    "",
    "10.0.0.1-10.0.0.9",
    "224.0.0.1",
    "unix:///tmp/x",
];
const PORTS: &[u64] = &[80, 8080, 9000, 443, 8443, 9001];
const ODD_PORTS: &[i64] = &[
    0,
    1,
    -1,
    65535,
    65536,
    70000,
    15000,
    15001,
    15006,
    15008,
    15020,
    15021,
    15053,
    15090,
    15443,
    4_294_967_295,
];
const PROTOCOLS: &[&str] =
    &["HTTP", "HTTPS", "TCP", "TLS", "GRPC", "HTTP2", "http", "MONGO", "UDP", "FOO", "", "MYSQL", "GRPC-WEB"];

/// How often a value is odd, in a hundred.
const ODD: usize = 12;

impl Place {
    pub(super) fn new(kind: &str) -> Self {
        Self { names: vec![kind.to_owned()] }
    }

    /// Something one floor below.
    pub(super) fn below<T>(&mut self, name: &str, make: impl FnOnce(&mut Self) -> T) -> T {
        self.names.push(name.to_owned());
        let made = make(self);
        self.names.pop();
        made
    }

    /// How often a field is there, in a hundred.
    pub(super) fn odds(&self) -> usize {
        if self.names.len() > 5 { 25 } else { 35 }
    }

    fn is_in(&self, name: &str) -> bool {
        self.names.iter().any(|above| above == name)
    }

    pub(super) fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// A key of a map.
    pub(super) fn key(&self, chance: &mut Chance) -> String {
        let labels = ["app", "version", "istio", "security.istio.io/tlsMode", "odd label", "a/b/c", ""];
        match self.name() {
            "labels" | "matchLabels" | "selector" | "sourceLabels" => {
                let all = if chance.percent(ODD) { &labels[..] } else { &labels[..2] };
                chance.pick(all).to_owned()
            }
            "portLevelMtls" | "ports" if !self.is_in("endpoints") => self.any_number(chance).to_string(),
            "ports" => chance.pick(&["http", "tcp", "no-such", ""]).to_owned(),
            "to" => chance.pick(&["r1/*", "r2/z2/*", "*", "r1", "", "a/b/c/d"]).to_owned(),
            _ => header(chance),
        }
    }

    /// A number as the schema wants it: what it refuses never comes so far as to be judged.
    pub(super) fn number(&self, chance: &mut Chance, schema: &Value) -> Value {
        let made = self.any_number(chance);
        let least = schema["minimum"].as_f64().unwrap_or(f64::MIN);
        let most = match schema["format"].as_str() {
            Some("int32") => f64::from(i32::MAX),
            Some("uint32") => f64::from(u32::MAX),
            Some("uint16") => f64::from(u16::MAX),
            _ => f64::MAX,
        };
        let fits = made.as_f64().is_some_and(|number| (least..=most).contains(&number));
        let is_whole = schema["type"] != "integer" || made.is_i64();
        if fits && is_whole { made } else { json!(1) }
    }

    fn any_number(&self, chance: &mut Chance) -> Value {
        let is_odd = chance.percent(ODD);
        match self.name() {
            "number" | "port" | "targetPort" | "portLevelMtls" | "ports" if is_odd => {
                json!(ODD_PORTS[chance.below(ODD_PORTS.len())])
            }
            "number" | "port" | "targetPort" | "portLevelMtls" | "ports" => {
                json!(PORTS[chance.below(PORTS.len())])
            }
            "value" | "percent" | "mirrorPercent" | "mirrorPercentage" if is_odd => {
                json!([-1.0, 0.0, 0.000_001, 100.000_1, 99.999_99, 1e300][chance.below(6)])
            }
            "value" => json!([0.1, 1.0, 50.0, 100.0][chance.below(4)]),
            "weight" => json!([0, 1, 50, 50, 100, 100, -1, 2_147_483_647_i64][chance.below(8)]),
            "httpStatus" | "redirectCode" => {
                json!([200, 301, 302, 308, 503, 599, 600, 0, 199][chance.below(9)])
            }
            _ if is_odd => {
                json!([-1, 0, i64::from(i32::MAX), i64::from(u32::MAX), 101, 1 << 40][chance.below(6)])
            }
            _ => json!([0, 1, 2, 5, 10, 100][chance.below(6)]),
        }
    }

    /// A text.
    pub(super) fn text(&self, chance: &mut Chance) -> String {
        let is_odd = chance.percent(ODD);
        let choices: &[&str] = match self.name() {
            "regex" => REGULAR_EXPRESSIONS,
            "host" | "hosts" | "sniHosts" | "notHosts" | "authority" | "sni" if is_odd => ODD_HOSTS,
            "hosts" if self.is_in("Sidecar") => {
                &["*/*", "./*", "shop/a", "~/*", "bank/*", "a", "/", "shop/*.outside.example"]
            }
            "host" | "hosts" | "sniHosts" | "notHosts" | "authority" | "sni" => HOSTS,
            "timeout" | "perTryTimeout" | "fixedDelay" | "exponentialDelay" | "interval"
            | "baseEjectionTime" | "ttl" | "maxAge" | "connectTimeout" | "idleTimeout" | "time"
            | "consecutiveTime" => {
                if is_odd {
                    ODD_DURATIONS
                } else {
                    DURATIONS
                }
            }
            "addresses" | "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks"
            | "destinationSubnets" | "sourceSubnet" | "address" | "bind" => {
                if is_odd {
                    ODD_ADDRESSES
                } else {
                    ADDRESSES
                }
            }
            "protocol" => PROTOCOLS,
            "gateways" => &["shop/g", "g", "mesh", "no/such", "istio-system/g", "a/b/c", ""],
            "exportTo" => &["*", ".", "~", "shop", "bank", "no-such", ""],
            "subset" => &["v1", "v1", "v2", "no-such", ""],
            "name" if self.is_in("subsets") || self.is_in("ports") || self.is_in("port") => {
                &["v1", "v2", "http", "tcp-x", "https", "a b", "", "grpc"]
            }
            "name" if self.is_in("fromHeaders") => HEADERS,
            "key" if self.is_in("when") => &[
                "request.headers[x-a]",
                "request.headers[a b]",
                "request.headers[:path]",
                "request.headers[]",
                "source.ip",
                "source.namespace",
                "source.principal",
                "destination.port",
                "destination.ip",
                "connection.sni",
                "request.auth.claims[a]",
                "request.auth.claims[a][b]",
                "request.auth.principal",
                "remote.ip",
                "experimental.envoy.filters.a.b[c]",
                "no.such",
            ],
            "ports" | "notPorts" => &["80", "8080", "0", "65535", "65536", "http", "-1", ""],
            "methods" | "notMethods" | "allowMethods" => &["GET", "POST", "get", "*", "G*", "", "A B"],
            "retryOn" => &[
                "5xx",
                "connect-failure,refused-stream",
                "503",
                "gateway-error,reset",
                "nonsense",
                "1000",
                "",
                "retriable-status-codes",
                "cancelled",
            ],
            "httpHeaderName" | "remove" | "allowHeaders" | "exposeHeaders" => return header(chance),
            "caCertificates" => &[AUTHORITIES],
            "clientCertificate" | "privateKey" | "serverCertificate" => NO_FILES,
            "credentialName" => &["cred", "no-such", "a/b", "kubernetes://cred", ""],
            "subjectAltNames" => &["spiffe://cluster.local/ns/shop/sa/a", "a.example", "*.example", "", "é"],
            "defaultEndpoint" => {
                &["127.0.0.1:8080", "0.0.0.0:80", "unix:///tmp/x", "10.0.0.1:80", "127.0.0.1:0", "a"]
            }
            "from" | "to" | "locality" => &["r1", "r1/z1", "r2", "r1/z1/*", "*", "r1/*/z", ""],
            "namespaces" | "notNamespaces" | "namespace" => &["shop", "bank", "a(b", "*", "s*", ""],
            "principals" | "notPrincipals" | "requestPrincipals" | "notRequestPrincipals" => {
                &["cluster.local/ns/shop/sa/a", "*", "cluster.local/*", "*/sa/a", "a(b", "", "spiffe://x"]
            }
            "cipherSuites" => &["ECDHE-RSA-AES256-GCM-SHA384", "AES128-SHA", "nonsense", ""],
            "cookie" => HEADERS,
            "uri" | "jwksUri" => {
                &["/b", "", "a", "/a b", "http://x/y", "ftp://x", "/é", "/%", "/a\r\nb: c", "//x"]
            }
            _ if is_odd || self.is_in("headers") && chance.one_in(3) => ODD_TEXTS,
            _ => TEXTS,
        };
        chance.pick(choices).to_owned()
    }
}

fn header(chance: &mut Chance) -> String {
    let choices = if chance.one_in(4) { ODD_HEADERS } else { HEADERS };
    chance.pick(choices).to_owned()
}
