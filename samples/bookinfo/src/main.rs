//! The sample application that the demo and the tests put into a mesh: one small program that plays
//! every service of a book shop (product page, details, reviews, ratings) and the clients that call it.
//!
//! It knows nothing of the mesh: plain HTTP by service name in, plain HTTP by service name out, tracing
//! headers passed on as any well-behaved service does. Invariant: no wait without a deadline.

mod client;
mod roles;
mod server;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The book shop sample of the mesh.
#[derive(Debug, Parser)]
#[command(name = "bookinfo", version, about)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

/// Where a server role listens.
#[derive(Debug, Clone, Args)]
struct Listen {
    /// TCP port to serve on.
    #[arg(long, env = "PORT", default_value_t = 9080)]
    port: u16,
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0")]
    address: std::net::IpAddr,
}

/// The three releases of the reviews service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReviewsVersion {
    /// No ratings at all.
    V1,
    /// Ratings as black stars.
    V2,
    /// Ratings as red stars.
    V3,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The web page: calls details and reviews.
    Productpage {
        #[command(flatten)]
        listen: Listen,
        /// host:port of the details service.
        #[arg(long, env = "DETAILS_HOST", default_value = "details:9080")]
        details: String,
        /// host:port of the reviews service.
        #[arg(long, env = "REVIEWS_HOST", default_value = "reviews:9080")]
        reviews: String,
        /// host:port of the ratings service (used by the JSON API only).
        #[arg(long, env = "RATINGS_HOST", default_value = "ratings:9080")]
        ratings: String,
    },
    /// Facts about the book.
    Details {
        #[command(flatten)]
        listen: Listen,
    },
    /// What readers say; v2 and v3 call ratings.
    Reviews {
        #[command(flatten)]
        listen: Listen,
        /// Which release to be.
        #[arg(long, env = "SERVICE_VERSION", value_enum, default_value = "v1")]
        version: ReviewsVersion,
        /// host:port of the ratings service.
        #[arg(long, env = "RATINGS_HOST", default_value = "ratings:9080")]
        ratings: String,
    },
    /// Stars by reviewer.
    Ratings {
        #[command(flatten)]
        listen: Listen,
        /// Give so many stars in every rating, instead of the usual ones.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=5))]
        stars: Option<u8>,
    },
    /// A server that makes requests on behalf of its caller: `/fetch?url=URL&count=N&header=k:v`.
    Client {
        #[command(flatten)]
        listen: Listen,
    },
    /// Make requests and print what comes back.
    #[command(alias = "curl")]
    Get(client::GetArgs),
    /// Do nothing until told to stop.
    Sleep,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Cli::parse().role).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bookinfo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(role: Role) -> anyhow::Result<ExitCode> {
    match role {
        Role::Productpage { listen, details, reviews, ratings } => {
            let shop = roles::productpage::Upstreams { details, reviews, ratings };
            server::serve(&listen, roles::App::Productpage(shop)).await?;
        }
        Role::Details { listen } => server::serve(&listen, roles::App::Details).await?,
        Role::Reviews { listen, version, ratings } => {
            server::serve(&listen, roles::App::Reviews { version, ratings }).await?;
        }
        Role::Ratings { listen, stars } => server::serve(&listen, roles::App::Ratings { stars }).await?,
        Role::Client { listen } => server::serve(&listen, roles::App::Client).await?,
        Role::Get(args) => return client::get(&args).await,
        Role::Sleep => server::wait_for_stop().await,
    }
    Ok(ExitCode::SUCCESS)
}
