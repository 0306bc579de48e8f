// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/page_assets.hpp"

namespace perigee::sim {

namespace {

// Seven colours that stay apart for all kinds of colour vision (after Okabe and Ito), darker on light ground, lighter
// on dark; dashes tell further runs. Shades of one colour stand for load, so that more is darker (or lighter) for
// everybody.
constexpr std::string_view style = R"(
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#e3e6ea;--best:#e2f3ec;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b5548f;--c4:#b07d00;--c5:#3d9bd6;--c6:#1b1f24;--heat:#0b5c94}
@media (prefers-color-scheme:dark){:root{--ground:#111418;--card:#1a1f25;--ink:#e6e9ed;--soft:#9aa4b0;--rule:#2d343c;--best:#16382d;
--c0:#4aa8e0;--c1:#f0803c;--c2:#2cc295;--c3:#dd8fbd;--c4:#e6b23c;--c5:#9fd4f5;--c6:#e6e9ed;--heat:#6fc0f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1360px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:34px 0 10px}
h3{font-size:15px;margin:0 0 2px}
p{margin:2px 0 8px;color:var(--soft)}
.facts{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0;list-style:none;color:var(--soft)}
.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px;min-width:0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:16px}
.wide{overflow:auto;max-height:80vh;padding-top:0}
.wide th{position:sticky;top:0;z-index:1;background:var(--card);padding-top:12px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600;vertical-align:bottom}
th small{display:block;font-weight:400}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
.wide th:first-child{z-index:2}
tbody tr:last-child td{border-bottom:0}
td.best{background:var(--best);font-weight:600}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--soft)}
svg .title{fill:var(--ink)}
svg .end{text-anchor:end}
svg .mid{text-anchor:middle}
svg .none{font-style:italic}
.heat text{font-size:11.5px}
.grid{stroke:var(--rule);fill:none}
.mark{stroke:var(--soft);stroke-dasharray:2 3;fill:none}
.line{fill:none;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}
.bar{stroke-width:1.2;stroke-dasharray:none}
.d1{stroke-dasharray:7 4}
.d2{stroke-dasharray:1.5 4}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}
.h1,.h2,.h3,.h4,.h5,.h6,.h7,.h8,.h9{fill:var(--heat)}
.h1{fill-opacity:.1}.h2{fill-opacity:.21}.h3{fill-opacity:.32}.h4{fill-opacity:.43}.h5{fill-opacity:.54}.h6{fill-opacity:.65}.h7{fill-opacity:.76}.h8{fill-opacity:.88}
.cursor{stroke:var(--soft);fill:none}
.legend{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:6px;padding:10px 0;background:var(--ground)}
.legend button{display:flex;align-items:center;gap:7px;font:inherit;font-size:14px;color:var(--ink);background:var(--card);border:1px solid var(--rule);border-radius:999px;padding:2px 12px;cursor:pointer}
.legend button[aria-pressed=false]{opacity:.45;text-decoration:line-through}
.key{width:26px;height:8px;flex:none;overflow:visible}
.key path{fill:none;stroke-width:3}
.keys{margin:2px 0 8px;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft)}
.keys span{display:flex;align-items:center;gap:7px}
.one{max-width:640px}
.scale{display:flex;align-items:center;gap:6px;font-size:13px;color:var(--soft)}
.scale i{width:18px;height:11px;background:var(--heat)}
details{margin:0 0 12px}
summary{cursor:pointer;font-weight:600;padding:2px 0}
#tip{position:fixed;z-index:3;pointer-events:none;display:none;background:var(--card);color:var(--ink);border:1px solid var(--rule);border-radius:8px;padding:6px 10px;font-size:13px;box-shadow:0 4px 18px #0003;max-width:380px}
#tip div{display:flex;gap:8px;align-items:center;justify-content:space-between}
#tip b{font-variant-numeric:tabular-nums;font-weight:600}
@media (max-width:640px){main{padding:16px 10px 40px}.card{overflow-x:auto;padding:10px}svg.chart{min-width:460px}svg.heat{min-width:900px}}
@media print{.wide{max-height:none}.legend{position:static}details{break-inside:avoid}}
)";

// Hovering reads values back from the curves, so that the page carries its data once.
constexpr std::string_view script = R"(
(function(){
'use strict';
var tip=document.getElementById('tip'),cursor=null;
function text(v,u){
 if(u==='%')return (v*100).toFixed(v<0.1?2:1)+' %';
 if(u==='n')return v>=100?String(Math.round(v)):String(Number(v.toPrecision(3)));
 if(v<1)return Number((v*1000).toPrecision(3))+' ms';
 if(v<180)return Number(v.toPrecision(3))+' s';
 return v<10800?(v/60).toFixed(1)+' min':(v/3600).toFixed(2)+' h';
}
function axis(s){var p=s.split(',');return {low:+p[0],high:+p[1],log:p[2]==='1',unit:p[3]};}
function value(a,t){return a.log?a.low*Math.pow(a.high/a.low,t):a.low+(a.high-a.low)*t;}
function points(path){
 if(!path._p){path._p=[];path.getAttribute('d').replace(/[ML]([-\d.]+) ([-\d.]+)/g,function(m,x,y){path._p.push([+x,+y]);});}
 return path._p;
}
function at(p,x){
 if(!p.length||x<p[0][0]-3||x>p[p.length-1][0]+3)return null;
 var i=0;while(i<p.length-1&&p[i+1][0]<x)i++;
 if(i===p.length-1||x<=p[i][0])return p[i][1];
 var w=p[i+1][0]-p[i][0];return w?p[i][1]+(p[i+1][1]-p[i][1])*(x-p[i][0])/w:p[i+1][1];
}
function place(svg,e){
 var m=svg.getScreenCTM();if(!m)return null;
 var q=svg.createSVGPoint();q.x=e.clientX;q.y=e.clientY;q=q.matrixTransform(m.inverse());
 var b=svg.dataset.box.split(',').map(Number);
 return q.x<b[0]||q.x>b[2]||q.y<b[1]||q.y>b[3]?null:{x:q.x,y:q.y,b:b};
}
function row(parent,cells,key){
 var d=document.createElement('div'),l=document.createElement('span'),v=document.createElement('b');
 if(key){var k=document.getElementById('key'+key);if(k){k=k.cloneNode(true);k.removeAttribute('id');d.appendChild(k);}}
 l.textContent=cells[0];v.textContent=cells[1];l.style.flex='1';d.appendChild(l);d.appendChild(v);parent.appendChild(d);
}
function show(e){
 tip.style.display='block';
 var w=tip.offsetWidth,h=tip.offsetHeight;
 tip.style.left=Math.min(e.clientX+14,innerWidth-w-8)+'px';
 tip.style.top=Math.min(e.clientY+14,innerHeight-h-8)+'px';
}
function hide(){tip.style.display='none';if(cursor){cursor.remove();cursor=null;}}
function overChart(svg,e){
 var q=place(svg,e);hide();if(!q)return;
 var ax=axis(svg.dataset.x),ay=axis(svg.dataset.y);
 tip.textContent='';
 row(tip,[text(value(ax,(q.x-q.b[0])/(q.b[2]-q.b[0])),ax.unit),'']);
 svg.querySelectorAll('.line').forEach(function(g){
  var path=g.querySelector('.curve');if(!path||getComputedStyle(g).display==='none')return;
  var y=at(points(path),q.x);if(y===null)return;
  row(tip,[g.dataset.name,text(value(ay,(q.b[3]-y)/(q.b[3]-q.b[1])),ay.unit)],g.dataset.key);
 });
 cursor=document.createElementNS('http://www.w3.org/2000/svg','path');
 cursor.setAttribute('class','cursor');cursor.setAttribute('d','M'+q.x+' '+q.b[1]+'V'+q.b[3]);svg.appendChild(cursor);
 show(e);
}
function overHeat(svg,e){
 var q=place(svg,e);hide();if(!q)return;
 var rows=svg.dataset.levels.split(','),names=svg.querySelectorAll('text.end');
 var r=Math.min(rows.length-1,Math.floor((q.y-q.b[1])/(q.b[3]-q.b[1])*rows.length)),t=(q.x-q.b[0])/(q.b[2]-q.b[0]);
 var level=+rows[r][Math.min(rows[r].length-1,Math.floor(t*rows[r].length))],high=+svg.dataset.high;
 tip.textContent='';
 row(tip,[names[r].textContent+', '+text(t*svg.dataset.end,'s'),
  level?text(high*(level-1)/9,'n')+' to '+text(high*level/9,'n'):'0']);
 show(e);
}
document.querySelectorAll('svg.chart').forEach(function(s){s.addEventListener('mousemove',function(e){overChart(s,e);});s.addEventListener('mouseleave',hide);});
document.querySelectorAll('svg.heat').forEach(function(s){s.addEventListener('mousemove',function(e){overHeat(s,e);});s.addEventListener('mouseleave',hide);});
document.querySelectorAll('.legend button').forEach(function(b){b.addEventListener('click',function(){
 var on=b.getAttribute('aria-pressed')==='false';b.setAttribute('aria-pressed',String(on));
 document.querySelectorAll('.by-run .r'+b.dataset.run).forEach(function(g){g.style.display=on?'':'none';});
});});
})();
)";

} // namespace

std::string_view page_style() noexcept {
  return style;
}

std::string_view page_script() noexcept {
  return script;
}

} // namespace perigee::sim
