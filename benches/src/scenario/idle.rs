//! Memory of idle connections: v2 sessions of users with a box each, on a standalone node and on the
//! gateways of a cluster; bare connections on `/echo`, on the node and on the peer.

use std::net::SocketAddr;
use std::slice;

use crate::failure::Failure;
use crate::limits::{OPENING_MAX, SESSION_BYTES_MAX};
use crate::load::echo::Echo;
use crate::load::enrol::Enrol;
use crate::load::idle::Idle;
use crate::load::{Load, Plan, Who};
use crate::options::Options;
use crate::process::Watched;
use crate::report::{Figure, Report};
use crate::servers::{Cluster, Server};
use crate::slab::{Part, Slabs};

const SCENARIO: &str = "idle";
const UNIT: &str = "bytes per connection";
const USERS: &str = "idle-";

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    // As users run it, then with exact figures.
    for options in [options.clone(), options.with_small_pages()] {
        standalone(&options, report)?;
    }
    let exact = options.with_small_pages();
    for server in [Server::standalone(&exact)?, Server::echo_peer(options)?] {
        let clients = options.idle_connections();
        let process = server.watched();
        let open = bare(vec![server.ws()?], clients);
        let weight = weigh(slice::from_ref(&process), clients, open)?;
        let what = format!("{clients} on /echo: {}", process.name);
        weight.report(&what, None, report);
    }
    Ok(())
}

fn standalone(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let clients = options.idle_connections();
    let newim = Server::standalone(options)?;
    enrol(vec![newim.ws()?], clients)?;
    // A new process, because the JOINs filled the store's caches, which is not the connections' memory.
    let newim = newim.restarted(options)?;
    let open = sessions(vec![newim.ws()?], clients);
    let weight = weigh(&[newim.watched()], clients, open)?;
    let what = format!("{clients} sessions{}: newim", pages(options));
    weight.report(&what, Some(SESSION_BYTES_MAX), report);
    Ok(())
}

pub fn run_cluster(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let options = &options.with_small_pages();
    let clients = options.idle_connections();
    let mut cluster = Cluster::start(options)?;
    enrol(cluster.ws()?, clients)?;
    cluster.restart_gateways(options)?;
    let gateways: Vec<Watched> = cluster.watched().into_iter().take(2).collect();
    let weight = weigh(&gateways, clients, sessions(cluster.ws()?, clients))?;
    let what = format!("{clients} sessions{}: both gateways", pages(options));
    weight.report(&what, Some(SESSION_BYTES_MAX), report);
    Ok(())
}

fn pages(options: &Options) -> &'static str {
    if options.small_pages {
        ", small pages"
    } else {
        ""
    }
}

fn enrol(servers: Vec<SocketAddr>, clients: usize) -> Result<(), Failure> {
    let script = Enrol::new(|client| format!("box-{client}"));
    Load::open(plan(servers, clients), Who::users(USERS), script)?.close()
}

/// Opens one half of the sessions, then the other.
fn sessions(servers: Vec<SocketAddr>, clients: usize) -> impl Fn(Half) -> Result<Load, Failure> {
    move |half| {
        let users = Who::users_from(USERS, half as usize * clients / 2);
        Load::open(plan(servers.clone(), clients / 2), users, Idle)
    }
}

fn bare(servers: Vec<SocketAddr>, clients: usize) -> impl Fn(Half) -> Result<Load, Failure> {
    move |_| {
        let plan = plan(servers.clone(), clients / 2);
        Load::open(plan, Who::Echo, Echo::new(clients / 2, 1))
    }
}

fn plan(servers: Vec<SocketAddr>, clients: usize) -> Plan {
    Plan {
        servers,
        clients,
        opening_max: OPENING_MAX,
    }
}

#[derive(Clone, Copy)]
enum Half {
    First = 0,
    Second = 1,
}

/// Bytes per connection.
struct Weight {
    /// Growth of the processes with all connections.
    user_bytes: f64,
    /// Growth with the second half of the connections: without what exists once.
    next_user_bytes: f64,
    /// Kernel memory of both ends of the connection. None: /proc/slabinfo can't be read.
    kernel: Option<Vec<Part>>,
}

fn weigh(
    processes: &[Watched],
    clients: usize,
    open: impl Fn(Half) -> Result<Load, Failure>,
) -> Result<Weight, Failure> {
    let anonymous_bytes = || -> Result<f64, Failure> {
        processes.iter().try_for_each(Watched::await_quiet)?;
        let each = processes.iter().map(Watched::anonymous_bytes);
        Ok(each.sum::<Result<u64, _>>()? as f64)
    };
    let (user, kernel) = (anonymous_bytes()?, Slabs::read());
    let first = open(Half::First)?;
    let user_halfway = anonymous_bytes()?;
    let second = open(Half::Second)?;
    let (user_after, kernel_after) = (anonymous_bytes()?, Slabs::read());
    first.close()?;
    second.close()?;
    let kernel = kernel.zip(kernel_after);
    Ok(Weight {
        user_bytes: (user_after - user) / clients as f64,
        next_user_bytes: (user_after - user_halfway) / (clients / 2) as f64,
        kernel: kernel.map(|(before, after)| after.since(&before, clients)),
    })
}

impl Weight {
    fn report(&self, what: &str, expected_max: Option<f64>, report: &mut Report) {
        let users = [
            ("user memory", self.user_bytes),
            (
                "user memory, second half of the connections",
                self.next_user_bytes,
            ),
        ];
        for (name, bytes) in users {
            let mut figure = Figure::new(SCENARIO, format!("{what}, {name}"), UNIT, &[bytes]);
            figure.expected_max = expected_max;
            report.add(figure);
        }
        match &self.kernel {
            Some(parts) => report_kernel(what, parts, report),
            None => {
                report.note("idle: only root can read /proc/slabinfo, so kernel memory is unknown")
            }
        }
    }
}

fn report_kernel(what: &str, parts: &[Part], report: &mut Report) {
    let all: f64 = parts.iter().map(|part| part.bytes).sum();
    let figure = format!("{what}, kernel, both ends");
    report.add(Figure::new(SCENARIO, figure, UNIT, &[all]));
    let ports = parts.iter().filter(|part| part.is_of_the_client_alone());
    let ports_bytes: f64 = ports.map(|part| part.bytes).sum();
    let shown: Vec<String> = parts
        .iter()
        .map(|part| format!("{:.2} {} = {:.0} B", part.objects, part.cache, part.bytes))
        .collect();
    report.note(format!(
        "idle, {what}: kernel objects per connection, both ends: {}; half of it, without the client's port: \
         {:.0} B. The load's end is NewIM's engine, so for NewIM that is the server's end; slabs are the whole \
         machine's, so anything else that opened sockets or files is in it.",
        shown.join(", "),
        (all - ports_bytes) / 2.0
    ));
}
