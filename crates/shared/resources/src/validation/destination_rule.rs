//! DestinationRule rules.

use std::time::Duration;

use super::{Report, Validate, common};
use crate::{DestinationRule, networking::*};

impl Validate for DestinationRule {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        if !common::is_ip(&spec.host) {
            common::host(&mut r, "spec.host", &spec.host);
        }
        common::export_to(&mut r, "spec.exportTo", &spec.export_to);
        policy(&mut r, "spec.trafficPolicy", spec.traffic_policy.as_ref());
        for (i, subset) in spec.subsets.iter().enumerate() {
            let path = format!("spec.subsets[{i}]");
            if !common::is_fqdn(&subset.name) {
                r.error(format!("{path}.name"), format!("{:?} is not a subset name", subset.name));
            }
            if spec.subsets.iter().take(i).any(|s| s.name == subset.name) {
                r.error(format!("{path}.name"), format!("subset {:?} is defined twice", subset.name));
            }
            common::labels(&mut r, &format!("{path}.labels"), &subset.labels);
            policy(&mut r, &format!("{path}.trafficPolicy"), subset.traffic_policy.as_ref());
        }
        r
    }
}

fn policy(r: &mut Report, path: &str, policy: Option<&TrafficPolicy>) {
    let Some(p) = policy else { return };
    let unset = p.load_balancer.is_none()
        && p.connection_pool.is_none()
        && p.outlier_detection.is_none()
        && p.tls.is_none()
        && p.port_level_settings.is_empty();
    if unset {
        r.error(path, "must have at least one field");
    }
    parts(
        r,
        path,
        p.load_balancer.as_ref(),
        p.connection_pool.as_ref(),
        p.outlier_detection.as_ref(),
        p.tls.as_ref(),
    );
    for (i, port) in p.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        match &port.port {
            Some(selector) => common::port(r, &format!("{path}.port.number"), selector.number),
            None => r.error(format!("{path}.port"), "is required"),
        }
        parts(
            r,
            &path,
            port.load_balancer.as_ref(),
            port.connection_pool.as_ref(),
            port.outlier_detection.as_ref(),
            port.tls.as_ref(),
        );
    }
}

fn parts(
    r: &mut Report,
    path: &str,
    lb: Option<&LoadBalancerSettings>,
    pool: Option<&ConnectionPoolSettings>,
    outlier: Option<&OutlierDetection>,
    tls: Option<&ClientTlsSettings>,
) {
    if let Some(lb) = lb {
        load_balancer(r, &format!("{path}.loadBalancer"), lb);
    }
    if let Some(pool) = pool {
        connection_pool(r, &format!("{path}.connectionPool"), pool);
    }
    if let Some(outlier) = outlier {
        outlier_detection(r, &format!("{path}.outlierDetection"), outlier);
    }
    if let Some(tls) = tls {
        client_tls(r, &format!("{path}.tls"), tls);
    }
}

fn load_balancer(r: &mut Report, path: &str, lb: &LoadBalancerSettings) {
    common::one_of(
        r,
        path,
        &[("simple", lb.simple.is_some()), ("consistentHash", lb.consistent_hash.is_some())],
        false,
    );
    if let Some(hash) = &lb.consistent_hash {
        let path = format!("{path}.consistentHash");
        common::one_of(
            r,
            &path,
            &[
                ("httpHeaderName", hash.http_header_name.is_some()),
                ("httpCookie", hash.http_cookie.is_some()),
                ("useSourceIp", hash.use_source_ip.is_some()),
                ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
            ],
            true,
        );
        if let Some(cookie) = &hash.http_cookie {
            if cookie.name.is_empty() {
                r.error(format!("{path}.httpCookie.name"), "is required");
            }
            if cookie.ttl.is_none() {
                r.error(format!("{path}.httpCookie.ttl"), "is required");
            }
            common::duration(r, &format!("{path}.httpCookie.ttl"), cookie.ttl.as_ref(), Duration::ZERO);
        }
    }
    if let Some(locality) = &lb.locality_lb_setting {
        let path = format!("{path}.localityLbSetting");
        common::one_of(
            r,
            &path,
            &[("distribute", !locality.distribute.is_empty()), ("failover", !locality.failover.is_empty())],
            false,
        );
        for (i, d) in locality.distribute.iter().enumerate() {
            let sum: u64 = d.to.values().copied().map(u64::from).sum();
            if sum != 100 {
                r.error(format!("{path}.distribute[{i}].to"), format!("total weight {sum} != 100"));
            }
        }
        for (i, f) in locality.failover.iter().enumerate() {
            if f.from == f.to {
                r.error(format!("{path}.failover[{i}]"), "from and to must differ");
            }
            if f.from.contains('/') || f.to.contains('/') {
                r.error(format!("{path}.failover[{i}]"), "regions only, without zone");
            }
        }
    }
}

fn connection_pool(r: &mut Report, path: &str, pool: &ConnectionPoolSettings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        r.error(path, "tcp or http is required");
    }
    if let Some(tcp) = &pool.tcp {
        let path = format!("{path}.tcp");
        non_negative(r, &format!("{path}.maxConnections"), tcp.max_connections);
        common::duration(
            r,
            &format!("{path}.connectTimeout"),
            tcp.connect_timeout.as_ref(),
            Duration::from_millis(1),
        );
        if let Some(keepalive) = &tcp.tcp_keepalive {
            let second = Duration::from_secs(1);
            common::duration(r, &format!("{path}.tcpKeepalive.time"), keepalive.time.as_ref(), second);
            common::duration(
                r,
                &format!("{path}.tcpKeepalive.interval"),
                keepalive.interval.as_ref(),
                second,
            );
        }
    }
    if let Some(http) = &pool.http {
        let path = format!("{path}.http");
        non_negative(r, &format!("{path}.http1MaxPendingRequests"), http.http1_max_pending_requests);
        non_negative(r, &format!("{path}.http2MaxRequests"), http.http2_max_requests);
        non_negative(r, &format!("{path}.maxRequestsPerConnection"), http.max_requests_per_connection);
        non_negative(r, &format!("{path}.maxRetries"), http.max_retries);
        common::duration(r, &format!("{path}.idleTimeout"), http.idle_timeout.as_ref(), Duration::ZERO);
        if http.use_client_protocol == Some(true) && http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade)
        {
            r.error(format!("{path}.useClientProtocol"), "cannot be used with h2UpgradePolicy UPGRADE");
        }
    }
}

fn non_negative(r: &mut Report, path: &str, value: Option<i32>) {
    if value.is_some_and(|v| v < 0) {
        r.error(path, "must not be negative");
    }
}

fn outlier_detection(r: &mut Report, path: &str, o: &OutlierDetection) {
    let least = Duration::from_millis(1);
    common::duration(r, &format!("{path}.interval"), o.interval.as_ref(), least);
    common::duration(r, &format!("{path}.baseEjectionTime"), o.base_ejection_time.as_ref(), least);
    common::int_percent(r, &format!("{path}.maxEjectionPercent"), o.max_ejection_percent.map(i64::from));
    common::int_percent(r, &format!("{path}.minHealthPercent"), o.min_health_percent.map(i64::from));
    if o.consecutive_errors.is_some_and(|v| v != 0) {
        r.warn(
            format!("{path}.consecutiveErrors"),
            "is deprecated; use consecutiveGatewayErrors or consecutive5xxErrors",
        );
    }
}

fn client_tls(r: &mut Report, path: &str, tls: &ClientTlsSettings) {
    let files =
        tls.client_certificate.is_some() || tls.private_key.is_some() || tls.ca_certificates.is_some();
    match tls.mode {
        ClientTlsMode::Mutual if tls.credential_name.is_none() => {
            if tls.client_certificate.as_deref().unwrap_or_default().is_empty() {
                r.error(format!("{path}.clientCertificate"), "is required for mode MUTUAL");
            }
            if tls.private_key.as_deref().unwrap_or_default().is_empty() {
                r.error(format!("{path}.privateKey"), "is required for mode MUTUAL");
            }
        }
        ClientTlsMode::Mutual | ClientTlsMode::Simple if tls.credential_name.is_some() && files => {
            r.error(path, "credentialName excludes clientCertificate, privateKey and caCertificates");
        }
        ClientTlsMode::Simple if tls.ca_certificates.is_none() && tls.credential_name.is_none() => {
            r.warn(path, "without caCertificates the server's certificate is not verified");
        }
        ClientTlsMode::IstioMutual if files || tls.credential_name.is_some() => {
            r.error(
                path,
                "mode ISTIO_MUTUAL uses the workload's own certificate; remove the certificate fields",
            );
        }
        _ => {}
    }
}
