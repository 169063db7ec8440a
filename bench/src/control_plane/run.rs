//! A run: for each size, write the mesh, start the control plane, let the proxies connect, and go through the steps.

use std::path::Path;

use super::changes::ChangeKind;
use super::credentials::Authority;
use super::fleet::Fleet;
use super::floor;
use super::goals::growth;
use super::mesh::Mesh;
use super::options::{ControlPlaneOptions, Scenario, Size};
use super::report::{NOTES, Report, SizeReport, goals_table};
use super::servers::Servers;
use super::steps::Field;
use crate::error::BenchError;
use crate::machine::{self, Machine};
use crate::process::allow_many_files;

/// Runs what the options ask for and prints it.
pub(crate) async fn run(options: &ControlPlaneOptions) -> Result<(), BenchError> {
    allow_many_files();
    let program = match &options.program {
        Some(given) => given.clone(),
        None => std::env::current_exe().map_err(BenchError::Resources)?.with_file_name("portolan"),
    };
    let machine = Machine::with(&[("portolan", program.as_path(), ["version", "--client"].as_slice())]).await;
    println!("{machine}");
    let mut report = Report { machine, sizes: Vec::new() };
    for size in options.sizes() {
        let temporary =
            tempfile::Builder::new().prefix("portolan-bench-").tempdir().map_err(BenchError::Resources)?;
        let folder = match &options.keep {
            Some(keep) => keep.join(format!("{}-{}", size.services, size.proxies)),
            None => temporary.path().to_owned(),
        };
        std::fs::create_dir_all(&folder)
            .map_err(|source| BenchError::File { path: folder.clone(), source })?;
        println!("{} services, {} proxies, {:?}", size.services, size.proxies, options.scenario);
        let measured = measure(options, size, &program, &folder).await?;
        println!("{}", measured.tables());
        report.sizes.push(measured);
        // What was measured so far is kept although a later size fails.
        write(options, &report)?;
    }
    let growth = growth(&report.sizes);
    if !growth.is_empty() {
        println!("{}", goals_table(&growth));
    }
    println!("{}", NOTES.trim_end());
    println!("load average at the end: {}", machine::load_average());
    match report.sizes.iter().map(SizeReport::missing).sum() {
        0 => Ok(()),
        missing => Err(BenchError::Missing(missing)),
    }
}

fn write(options: &ControlPlaneOptions, report: &Report) -> Result<(), BenchError> {
    let Some(path) = &options.output else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text).map_err(|source| BenchError::File { path: path.clone(), source })
}

async fn measure(
    options: &ControlPlaneOptions,
    size: Size,
    program: &Path,
    folder: &Path,
) -> Result<SizeReport, BenchError> {
    let times = options.changes();
    let sustained = options.sustained();
    let mesh = Mesh {
        services: size.services,
        namespaces: options.namespaces(),
        scenario: options.scenario,
        // One for each single change, ten for each second, and one for the restart.
        spares: times + sustained.as_secs() as usize * 10 + 1,
    };
    let mut servers = Servers::start(program, folder).await?;
    progress("the mesh is written");
    for group in mesh.objects() {
        servers.api.create_all(&group).await?;
    }
    let own = Authority::own()?;
    servers.api.create(&own.gateway_secret()?.0).await?;
    progress("the control plane starts");
    servers.start_control_plane().await?;
    let authority = Authority::of_control_plane(&servers.api).await?;

    progress("the proxies connect");
    let fleet = Fleet::new(servers.xds(), mesh.proxies(size.proxies), &authority)?;
    let mut field = Field { servers, mesh, authority, fleet };
    let connect = field.connect().await?;
    let mut report = SizeReport {
        scenario: options.scenario,
        size,
        namespaces: mesh.namespaces,
        connect,
        floor: None,
        changes: Vec::new(),
        sustained: None,
        reconnect: None,
    };
    if options.scenario == Scenario::Reconnect {
        progress("the control plane is killed and started anew");
        report.reconnect = Some(field.reconnect(0).await?);
    } else {
        progress("the floor");
        report.floor = Some(floor::measure(size.proxies, folder).await?);
        for kind in ChangeKind::ALL {
            progress(kind.name());
            report.changes.push(field.changes(kind, times).await?);
        }
        if !sustained.is_zero() {
            progress("endpoints, all the time");
            report.sustained = Some(field.sustained(sustained, times).await?);
        }
    }
    field.servers.end().await;
    Ok(report)
}

/// On standard error: tables go to standard output.
fn progress(what: &str) {
    eprintln!("  {what}");
}
