impl Repo {
    pub async fn get(&self, id: u64) -> Result<Option<User>, DbError> {
        let miss = match Self::__get_with_key(
            &self,
            ::multi_tier_cached::__private::Start,
            Self::__get_returns(),
            &id,
        ) {
            ::multi_tier_cached::__private::Lookup::Hit(result) => return result,
            ::multi_tier_cached::__private::Lookup::Miss(miss) => miss,
        };
        miss.load(move || Self::__get_body(self, id)).await
    }
    ///The handle of one call of `get`, not made yet.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    pub fn get_entry(
        &self,
        id: u64,
    ) -> ::multi_tier_cached::__private::Call<
        Result<Option<User>, DbError>,
        impl ::core::future::Future<Output = Result<Option<User>, DbError>>,
    > {
        let handle = Self::__get_with_key(
            &self,
            ::multi_tier_cached::__private::Prepare,
            Self::__get_returns(),
            &id,
        );
        ::multi_tier_cached::__private::call(handle, Self::__get_body(self, id))
    }
    ///Drops every value of `get` in every tier.
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    pub fn get_invalidate_all() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::At::instance(
                Self::__get_site(),
                &(::core::marker::PhantomData::<Self>,),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_parens, clippy::all, clippy::pedantic)]
    fn __get_with_key<
        __Terms: ::multi_tier_cached::__private::Returned<
                Result = Result<Option<User>, DbError>,
            >,
        __Step: ::multi_tier_cached::__private::Step<__Terms>,
    >(self: &&Self, __step: __Step, __terms: __Terms, id: &u64) -> __Step::Output {
        __step
            .take(
                ::multi_tier_cached::__private::At::instance(
                    Self::__get_site(),
                    &(::core::marker::PhantomData::<Self>,),
                ),
                __terms,
                |parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    parts.add(&self.tenant);
                    parts.add(id);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(clippy::all, clippy::pedantic)]
    fn __get_returns() -> impl ::multi_tier_cached::__private::Returned<
        Result = Result<Option<User>, DbError>,
    > {
        ::multi_tier_cached::__private::returns!(
            shared Result < Option < User >, DbError >
        )
    }
    #[doc(hidden)]
    fn __get_site() -> &'static ::multi_tier_cached::__private::Site {
        static __SITE: ::multi_tier_cached::__private::Site = ::multi_tier_cached::__private::Site::new(::multi_tier_cached::__private::Declaration {
            name: ::core::concat!(::core::module_path!(), "::", "get"),
            file: ::core::file!(),
            line: ::core::line!(),
            named: false,
            generic: true,
            version: 1u32,
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            tiers: ::core::option::Option::None,
            codec: ::core::option::Option::None,
            template: &[],
            coherence: ::multi_tier_cached::__private::Coherent {
                when_isolated: ::multi_tier_cached::__private::WhenIsolated::Serve,
                single_flight: ::multi_tier_cached::__private::SingleFlight::Cluster,
                consistency: ::multi_tier_cached::__private::Consistency::Bounded,
            },
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(& __SITE)
        }
        &__SITE
    }
    #[doc(hidden)]
    async fn __get_body(&self, mut id: u64) -> Result<Option<User>, DbError> {
        id += 1;
        self.db.get(id).await
    }
}
