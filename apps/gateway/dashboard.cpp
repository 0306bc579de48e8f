// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/dashboard.hpp"

namespace perigee::gateway {

namespace {

// Everything that came from the cluster becomes text nodes, never markup. Latencies and shares are of the last minute: what
// the counters of /metrics grew by since then.
constexpr std::string_view page = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>perigee</title><link rel="icon" href="data:,"><style>
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#e3e6ea;--blue:#0072b2;--fill:#bcdcef;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ground:#111418;--card:#1a1f25;--ink:#e6e9ed;--soft:#9aa4b0;--rule:#2d343c;--blue:#4aa8e0;--fill:#1d4b68;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1360px;margin:0 auto;padding:20px 20px 60px}
h1{font-size:24px;margin:0}
h2{font-size:17px;margin:28px 0 8px}
#facts{display:flex;flex-wrap:wrap;gap:2px 18px;margin:0;padding:0;list-style:none;color:var(--soft)}
#trouble{color:var(--bad);font-weight:600;min-height:1.5em;margin:4px 0}
#tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:10px 14px;min-width:0}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums;line-height:1.3}
.tile span,.soft{color:var(--soft);font-size:13px}
.tile svg{display:block;width:100%;height:34px;margin-top:4px}
.tile path{fill:none;stroke:var(--blue);stroke-width:1.5;vector-effect:non-scaling-stroke}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px 4px 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child,.left{text-align:left}
tbody tr:last-child td{border-bottom:0}
tr.gone td{color:var(--bad)}
tr.pick{cursor:pointer}
tr.pick:hover td,tr.open td{background:var(--ground)}
tr.chosen td{font-weight:600}
td button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-decoration:underline dotted}
.bar{display:inline-block;width:110px;height:10px;border-radius:5px;background:var(--rule);overflow:hidden;vertical-align:middle;margin-right:8px}
.bar i{display:block;height:100%;background:var(--blue)}
.terms{padding:2px 0 10px}
</style></head><body><main>
<h1>perigee</h1><ul id="facts"></ul><p id="trouble" role="status"></p>
<div id="tiles"></div>
<h2>Instances</h2><div class="card wide"><table id="instances"></table></div>
<h2>Cache</h2><div class="card wide"><table id="shards"></table></div>
<h2>Transfers</h2><div class="card wide"><table id="transfers"></table></div>
<h2>Recent decisions</h2><div class="card wide"><table id="decisions"></table></div>
</main><script>
(function(){
'use strict';
var every_ms=2000,window_ms=60000,past=[],lines={},opened=null,details={};
function id(name){return document.getElementById(name);}
function el(tag,text,cls){var e=document.createElement(tag);if(text!==undefined)e.textContent=text;if(cls)e.className=cls;return e;}
function count(v){return v>=1e6?(v/1e6).toFixed(1)+' M':v>=1e4?(v/1e3).toFixed(1)+' k':String(Math.round(v*10)/10);}
function seconds(s){return s===null?'-':s<1?(s*1000).toPrecision(3)+' ms':s.toPrecision(3)+' s';}
function ns(v){return v?seconds(v/1e9):'0';}
function bytes(v){var u=['B','KB','MB','GB','TB'],i=0;while(v>=1000&&i<4){v/=1000;i++;}return (i?v.toPrecision(3):v)+' '+u[i];}
function share(part,whole){return whole>0?(100*part/whole).toFixed(1)+' %':'-';}

// Prometheus text: {name: [[labels, value]..]}.
function parse(text){
 var all={};
 text.split('\n').forEach(function(line){
  var m=/^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);if(!m)return;
  var labels={};(m[2]||'').replace(/(\w+)="((?:[^"\\]|\\.)*)"/g,function(_,k,v){labels[k]=v;});
  (all[m[1]]=all[m[1]]||[]).push([labels,Number(m[3])]);
 });
 return all;
}
function sum(m,name){return (m[name]||[]).reduce(function(s,x){return s+x[1];},0);}
function buckets(m,name){
 var by={};(m[name+'_bucket']||[]).forEach(function(x){by[x[0].le]=(by[x[0].le]||0)+x[1];});
 return Object.keys(by).map(function(le){return [le==='+Inf'?Infinity:Number(le),by[le]];}).sort(function(a,b){return a[0]-b[0];});
}
// Where the q-th part of what came between two scrapes lies, evenly within its bucket; null of nothing.
function quantile(now,then,name,q){
 var old={};buckets(then,name).forEach(function(b){old[b[0]]=b[1];});
 var b=buckets(now,name).map(function(x){return [x[0],x[1]-(old[x[0]]||0)];});
 var all=b.length?b[b.length-1][1]:0;if(all<=0)return null;
 var low=0,before=0;
 for(var i=0;i<b.length;i++){
  if(b[i][1]>=q*all)return b[i][0]===Infinity?low:low+(b[i][0]-low)*(q*all-before)/Math.max(b[i][1]-before,1e-9);
  low=b[i][0];before=b[i][1];
 }
 return low;
}
function spark(name,value){
 var l=lines[name]=lines[name]||[];l.push(value===null?NaN:value);if(l.length>90)l.shift();
 var high=Math.max.apply(null,l.filter(isFinite).concat(1e-9)),d='',pen=false;
 l.forEach(function(v,i){
  if(!isFinite(v)){pen=false;return;}
  d+=(pen?'L':'M')+(90-l.length+i)+' '+(31-29*v/high).toFixed(1);pen=true;
 });
 var svg=document.createElementNS('http://www.w3.org/2000/svg','svg'),p=document.createElementNS(svg.namespaceURI,'path');
 svg.setAttribute('viewBox','0 0 90 32');svg.setAttribute('preserveAspectRatio','none');svg.setAttribute('aria-hidden','true');
 p.setAttribute('d',d);svg.appendChild(p);return svg;
}
function tile(into,title,text,line,note){
 var t=el('div',undefined,'card tile');t.appendChild(el('span',title));t.appendChild(el('b',text));
 t.appendChild(el('span',note||'\u00a0'));t.appendChild(spark(title,line));into.appendChild(t);
}
function table(name,heads,rows,none){
 var t=id(name);t.textContent='';
 if(!rows.length){t.appendChild(el('caption',none,'soft left'));return;}
 var h=el('tr');heads.forEach(function(x){h.appendChild(el('th',x));});
 t.appendChild(el('thead')).appendChild(h);var b=t.appendChild(el('tbody'));
 rows.forEach(function(r){b.appendChild(r);});
}
function row(cells,cls){
 var r=el('tr',undefined,cls);
 cells.forEach(function(c){var d=el('td');if(c instanceof Node)d.appendChild(c);else d.textContent=c;r.appendChild(d);});
 return r;
}
function bar(part,whole){
 var s=el('span'),b=el('span',undefined,'bar'),i=el('i');i.style.width=whole>0?Math.min(100,100*part/whole)+'%':'0';
 b.appendChild(i);s.appendChild(b);s.appendChild(el('span',part+' / '+whole));return s;
}
function show_cluster(c,then,dt){
 var facts=id('facts'),k=c.conductor;facts.textContent='';
 ['model '+c.model,'version '+c.version].concat(k?['policy '+k.policy,'Conductor on '+k.node+', term '+k.term]:['no Conductor'])
  .forEach(function(f){facts.appendChild(el('li',f));});
 table('instances',['instance','node','running','waiting','placed','KV blocks in use','queue','KV tokens reserved'],(c.instances||[]).map(function(i){
  return row([i.name,i.node,i.alive?i.running:'gone',i.waiting,i.placed,bar(i.slots_total-i.slots_free,i.slots_total),
   i.role==='prefill'?ns(i.queue_ns):'',i.role==='decode'?count(i.tokens_reserved):''],i.alive?'':'gone');
 }),'No instance reports.');
 table('shards',['shard','node','blocks in use','to be found','leased'],(c.shards||[]).map(function(s){
  return row([s.name,s.node,bar(s.blocks_used,s.blocks_total),s.blocks_indexed,s.leases],s.alive?'':'gone');
 }),'No shard reports.');
 var old={};(then&&then.transfers||[]).forEach(function(t){old[t.node]=t;});
 table('transfers',['node','by libfabric','a second','by copy','a second','under way','failed','fences'],(c.transfers||[]).map(function(t){
  var o=old[t.node]||t;
  return row([t.node,bytes(t.provider_bytes),bytes(Math.max(0,t.provider_bytes-o.provider_bytes)/dt),bytes(t.copied_bytes),
   bytes(Math.max(0,t.copied_bytes-o.copied_bytes)/dt),t.in_flight,t.failed_transfers,t.fences]);
 }),'No node tells what it moved.');
}
function offers(d){
 var box=el('div',undefined,'terms'),w=d.decision;
 box.appendChild(el('p',w.verdict+' by '+d.policy+', '+d.query.prompt_tokens+' prompt tokens, longest prefix anywhere '
  +d.query.best_blocks+' blocks, view '+w.view+(w.decode?', decode at '+w.decode:'')+(w.reason?', '+w.reason:''),'soft'));
 var t=el('table'),h=el('tr');
 ['prefill','score','first token in','queue','transfer','prefill','own blocks','fetched'].forEach(function(x){h.appendChild(el('th',x));});
 t.appendChild(el('thead')).appendChild(h);var b=t.appendChild(el('tbody'));
 (w.best||[]).forEach(function(o){
  b.appendChild(row([o.prefill,Number(o.score.toPrecision(6)),ns(o.ttft_ns),ns(o.queue_ns),ns(o.transfer_ns),ns(o.prefill_ns),o.own_blocks,
   o.fetch_blocks],w.chosen&&w.chosen.prefill===o.prefill?'chosen':''));
 });
 box.appendChild(t);return box;
}
function show_decisions(c){
 var rows=[];
 (c.decisions||[]).slice(0,20).forEach(function(d){
  var more=el('button',d.request);more.type='button';more.setAttribute('aria-expanded',String(opened===d.request));
  var r=row([more,d.attempt,d.prefill,d.decode,d.prompt_tokens,d.cached_tokens===undefined?'-':d.cached_tokens],
   'pick'+(opened===d.request?' open':''));
  r.addEventListener('click',function(){opened=opened===d.request?null:d.request;show_decisions(c);});
  rows.push(r);
  if(opened!==d.request)return;
  var cell=el('td',undefined,'left'),wide=el('tr');cell.colSpan=6;wide.appendChild(cell);rows.push(wide);
  if(details[opened]){cell.appendChild(offers(details[opened]));return;}
  cell.textContent='...';
  get('/cluster/requests/'+encodeURIComponent(d.request)).then(JSON.parse).then(function(x){
   if(Object.keys(details).length>200)details={};
   details[d.request]=x;cell.textContent='';cell.appendChild(offers(x));
  }).catch(function(e){cell.textContent=e.message;});
 });
 table('decisions',['request','attempt','prefill','decode','prompt tokens','of these cached'],rows,'No request yet.');
}
function show_tiles(now,then){
 var m=now.metrics,o=then.metrics,dt=Math.max((now.at-then.at)/1000,1e-3),into=document.createDocumentFragment();
 function grown(name){return Math.max(0,sum(m,name)-sum(o,name));}
 var first='perigee:time_to_first_token_seconds',gap='perigee:inter_token_latency_seconds';
 var asked=grown('perigee:prefix_cache_queries_total'),hits=grown('perigee:prefix_cache_hits_total');
 var t50=quantile(m,o,first,0.5),g50=quantile(m,o,gap,0.5);
 var running=sum(m,'perigee:num_requests_running'),waiting=sum(m,'perigee:num_requests_waiting');
 var tokens=grown(gap+'_count')+grown(first+'_count');
 tile(into,'requests running',count(running),running,count(waiting)+' waiting');
 tile(into,'requests a minute',count(60*grown(first+'_count')/dt),grown(first+'_count')/dt,count(grown('perigee:rejections_total'))+' refused lately');
 tile(into,'tokens a second',count(tokens/dt),tokens/dt,'generated');
 tile(into,'time to first token',seconds(t50),t50,'p99 '+seconds(quantile(m,o,first,0.99)));
 tile(into,'time between tokens',seconds(g50),g50,'p99 '+seconds(quantile(m,o,gap,0.99)));
 tile(into,'tokens from cache',share(hits,asked),asked?hits/asked:null,'ever: '+share(sum(m,'perigee:prefix_cache_hits_total'),sum(m,'perigee:prefix_cache_queries_total')));
 id('tiles').textContent='';id('tiles').appendChild(into);
}
function get(path){
 return fetch(path,{cache:'no-store'}).then(function(r){
  return r.text().then(function(t){if(!r.ok)throw new Error(path+' answered '+r.status);return t;});
 });
}
function poll(){
 if(document.hidden){setTimeout(poll,every_ms);return;}
 Promise.all([get('/cluster'),get('/metrics')]).then(function(a){
  var now={at:Date.now(),cluster:JSON.parse(a[0]),metrics:parse(a[1])},last=past[past.length-1];
  past.push(now);while(past.length>2&&now.at-past[0].at>window_ms)past.shift();
  show_cluster(now.cluster,last&&last.cluster,last?Math.max((now.at-last.at)/1000,1e-3):1);
  show_tiles(now,past[0]);show_decisions(now.cluster);id('trouble').textContent='';
 }).catch(function(e){id('trouble').textContent='No news from the gateway: '+e.message;}).then(function(){setTimeout(poll,every_ms);});
}
poll();
})();
</script></body></html>
)html";

} // namespace

std::string_view dashboard_page() noexcept {
  return page;
}

std::string_view dashboard_policy() noexcept {
  return "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
         "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

} // namespace perigee::gateway
