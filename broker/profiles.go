package broker

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

// profileBlocked handles /debug/pprof/block and mutex: what goroutines waited for during the next seconds (?seconds=N, 5 if not said).
// Recording costs a few percent, so it is on only meanwhile, and for one caller at a time.
func profileBlocked(mux *http.ServeMux) {
	var one sync.Mutex
	for name, record := range map[string]func(on bool){
		"block": func(on bool) { runtime.SetBlockProfileRate(map[bool]int{true: 10_000}[on]) }, // a sample per 10 us waited
		"mutex": func(on bool) { runtime.SetMutexProfileFraction(map[bool]int{true: 10}[on]) },
	} {
		mux.HandleFunc("/debug/pprof/"+name, func(rw http.ResponseWriter, r *http.Request) {
			one.Lock()
			defer one.Unlock()
			record(true)
			defer record(false)
			if q := r.URL.Query(); q.Get("seconds") == "" {
				q.Set("seconds", "5")
				r.URL.RawQuery = q.Encode()
				r.Form = nil
			}
			pprof.Handler(name).ServeHTTP(rw, r)
		})
	}
}
