//! The attributes of the crate `halfopen`: `#[halfopen::test]` and `#[halfopen::client]`.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Expr, Ident, ItemFn, LitStr, Token, parse_macro_input};

/// Runs the function as the program of one host of a scenario, under plain `cargo test` and nextest.
///
/// ```ignore
/// #[halfopen::test("scenarios/nat-idle-eviction.yaml", host = "app")]
/// async fn survives_nat_eviction(env: halfopen::Env) {
///     env.drive(|op| async move { my_client::get(op.key()).await }).await;
/// }
/// ```
///
/// The path counts from the crate's own folder. `host` names the host (or group of hosts) whose program the function
/// is; what the scenario's other hosts run must be registered: `clients = my_clients` names a
/// `fn() -> Vec<halfopen::Client>`. `variant` picks one variant (all run otherwise), `seed` another seed. `then` names a
/// `fn(&halfopen::Run)` that gets the finished run, to assert on its metrics or to snapshot its table. The test fails
/// if the scenario's verdict is not a pass.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as TestArguments);
    let function = parse_macro_input!(item as ItemFn);
    expand_test(arguments, function).into()
}

/// Makes a function with the same name that returns the [`Client`](../halfopen/struct.Client.html) whose program this
/// function is.
///
/// ```ignore
/// /// GETs over one pooled connection.
/// #[halfopen::client("http/mine", ops = OPS, params = PARAMS)]
/// async fn mine(env: halfopen::Env) -> Result<(), halfopen::OpError> {
///     env.drive(|op| async move { my_client::get(op.key()).await }).await;
///     Ok(())
/// }
/// ```
///
/// `upstream` marks a server: a run does not wait for it to end. The first line of the documentation is what
/// `halfopen list` shows.
#[proc_macro_attribute]
pub fn client(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as ClientArguments);
    let function = parse_macro_input!(item as ItemFn);
    expand_client(arguments, function).into()
}

/// `"path"` and then `key = value` pairs and bare words.
struct Arguments {
    first: LitStr,
    rest: Vec<(Ident, Option<Expr>)>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Arguments> {
        let first = input.parse()?;
        let mut rest = Vec::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let key = input.parse()?;
            let value = if input.parse::<Option<Token![=]>>()?.is_some() { Some(input.parse()?) } else { None };
            rest.push((key, value));
        }
        Ok(Arguments { first, rest })
    }
}

struct TestArguments {
    scenario: LitStr,
    host: Option<Expr>,
    variant: Option<Expr>,
    seed: Option<Expr>,
    clients: Option<Expr>,
    then: Option<Expr>,
}

impl Parse for TestArguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<TestArguments> {
        let Arguments { first, rest } = input.parse()?;
        let mut parsed =
            TestArguments { scenario: first, host: None, variant: None, seed: None, clients: None, then: None };
        for (key, value) in rest {
            let slot = match key.to_string().as_str() {
                "host" => &mut parsed.host,
                "variant" => &mut parsed.variant,
                "seed" => &mut parsed.seed,
                "clients" => &mut parsed.clients,
                "then" => &mut parsed.then,
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        "unknown argument: `host`, `variant`, `seed`, `clients` and `then` are known",
                    ));
                }
            };
            let Some(value) = value else {
                return Err(syn::Error::new(key.span(), format!("`{key}` takes a value: `{key} = …`")));
            };
            if slot.replace(value).is_some() {
                return Err(syn::Error::new(key.span(), format!("`{key}` is given twice")));
            }
        }
        if parsed.host.is_none() {
            return Err(syn::Error::new(
                parsed.scenario.span(),
                "say whose program this function is: `host = \"app\"`",
            ));
        }
        Ok(parsed)
    }
}

struct ClientArguments {
    name: LitStr,
    ops: Option<Expr>,
    params: Option<Expr>,
    upstream: bool,
}

impl Parse for ClientArguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<ClientArguments> {
        let Arguments { first, rest } = input.parse()?;
        let mut parsed = ClientArguments { name: first, ops: None, params: None, upstream: false };
        for (key, value) in rest {
            match (key.to_string().as_str(), value) {
                ("ops", Some(value)) => parsed.ops = Some(value),
                ("params", Some(value)) => parsed.params = Some(value),
                ("upstream", None) => parsed.upstream = true,
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        "unknown argument: `ops = …`, `params = …` and `upstream` are known",
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

/// The program as a plain function of an `Env`: async ones run on tokio's multi-threaded runtime.
fn program(function: &ItemFn, inner: &Ident) -> Tokens {
    if function.sig.asyncness.is_some() {
        quote!(::halfopen::program::run_async(#inner))
    } else {
        quote!(::halfopen::program::run_blocking(#inner))
    }
}

fn expand_test(arguments: TestArguments, mut function: ItemFn) -> Tokens {
    let name = function.sig.ident.clone();
    let inner = format_ident!("__halfopen_{name}");
    let program = program(&function, &inner);
    let attributes = std::mem::take(&mut function.attrs);
    function.sig.ident = inner;
    function.vis = syn::Visibility::Inherited;
    let TestArguments { scenario, host, variant, seed, clients, then } = arguments;
    let variant = variant.map(|value| quote!(.variant(#value)));
    let seed = seed.map(|value| quote!(.seed(#value)));
    let clients = clients.map(|value| quote!(.clients(#value())));
    let then = then.map(|path| quote!(for run in &runs { #path(run); }));
    quote! {
        #[::core::prelude::v1::test]
        #(#attributes)*
        fn #name() {
            #function
            let runs = ::halfopen::Scenario::new(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                ::core::env!("CARGO_MANIFEST_DIR"),
                #scenario,
            )
            .program(#host, #program)
            #variant
            #seed
            #clients
            .run();
            #then
            ::halfopen::Scenario::assert_pass(&runs);
        }
    }
}

fn expand_client(arguments: ClientArguments, mut function: ItemFn) -> Tokens {
    let name = function.sig.ident.clone();
    let inner = format_ident!("__halfopen_{name}");
    let program = program(&function, &inner);
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let documentation: Vec<_> =
        function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect();
    function.attrs.retain(|attribute| !attribute.path().is_ident("doc"));
    let summary = documentation
        .iter()
        .find_map(|attribute| match &attribute.meta.require_name_value().ok()?.value {
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .unwrap_or_default();
    function.sig.ident = inner;
    let ClientArguments { name: registered, ops, params, upstream } = arguments;
    let ops = ops.map_or_else(|| quote!(&[]), |value| quote!(#value));
    let params = params.map_or_else(|| quote!(&[]), |value| quote!(#value));
    let kind = if upstream { quote!(Upstream) } else { quote!(Client) };
    quote! {
        #(#documentation)*
        #visibility fn #name() -> ::halfopen::Client {
            #function
            ::halfopen::Client::new(
                ::halfopen::Registration {
                    name: #registered,
                    summary: #summary,
                    kind: ::halfopen::RegistrationKind::#kind,
                    ops: #ops,
                    params: #params,
                },
                #program,
            )
        }
    }
}
